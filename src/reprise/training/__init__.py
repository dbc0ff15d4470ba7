"""The training floor: losses, the loop, checkpoints."""

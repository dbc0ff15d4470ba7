"""Training on several processes that `torchrun` starts: their group, the rows of each, and the sum of their gradients."""

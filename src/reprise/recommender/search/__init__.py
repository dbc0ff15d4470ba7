"""Maximum inner product search over the item vectors."""

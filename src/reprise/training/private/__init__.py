"""Training with user-level differential privacy."""

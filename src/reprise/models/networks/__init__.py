"""Neural networks: the encoders, their inputs and their scorers."""

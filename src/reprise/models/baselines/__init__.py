"""Scorers without gradients: popularity, Markov chains and nearest neighbours."""

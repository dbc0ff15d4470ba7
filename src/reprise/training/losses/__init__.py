"""Loss functions and negative sampling."""

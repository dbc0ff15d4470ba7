"""Checks that training and model inputs do not contain the targets."""

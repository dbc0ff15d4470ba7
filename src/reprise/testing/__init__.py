"""Shipped test tools: worlds with provable answers, and the contracts as a suite for your own classes."""

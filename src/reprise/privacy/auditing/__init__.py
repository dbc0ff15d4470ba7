"""Audits of what a trained model remembers of its users: attacks, each with a rate and an interval."""

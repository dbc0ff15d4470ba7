"""Corrections of the logits that are fitted after training: item co-occurrence, and repeats within the session."""

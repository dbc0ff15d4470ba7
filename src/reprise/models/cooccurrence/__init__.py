"""Item co-occurrence counts as an additive correction of the logits."""

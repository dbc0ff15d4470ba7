"""The model floor: scorers, from networks to counts, behind one contract."""

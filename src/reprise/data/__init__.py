"""The data floor: from a log of events to memory-mapped sequences. No torch here."""

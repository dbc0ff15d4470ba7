"""The live floor: an event log that is the truth, states that are a cache of it, and answers over HTTP. No torch."""

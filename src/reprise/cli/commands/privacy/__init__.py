"""Commands of `reprise` for privacy, one module each."""

"""Encrypted scoring: a server computes the scores of a query that it cannot read (CKKS, by the SEAL library of TenSEAL)."""

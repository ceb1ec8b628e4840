"""Candidates for training queries: found by any systems, without duplicates and known positives."""

"""The records of batches: what their callers asked for, and how far they are."""

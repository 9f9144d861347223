"""Bulk: many rows submitted together, read from a file and written to a file."""

"""Bulks: many rows submitted together. The ledger keeps shards of some hundreds of rows."""

"""Shards of bulks in the local lane."""

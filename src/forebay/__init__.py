"""Forebay: a queue-based fleet of local LLM workers."""

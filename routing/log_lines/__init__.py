"""How log lines are written: their two formats, and the handler that writes them to stderr."""

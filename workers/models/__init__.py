"""Model files on this machine: list, fetch, pin, convert."""

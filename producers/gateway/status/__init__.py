"""The status page: what an operator sees of the fleet in a browser. Read-only, unless allowed."""

"""How a row becomes a request."""

"""The claims that a worker process holds: counted, renewed, and taken in reserve."""

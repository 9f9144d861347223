"""What a connection to Redis does besides what redis-py's do, and the finding of a primary."""

"""What the pages show: read from Redis, put into words, and without any HTML."""

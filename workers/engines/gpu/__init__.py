"""What a GPU machine needs, compiled once, ahead of time."""

"""Jobs: what they are, what is known about them, and where they go."""

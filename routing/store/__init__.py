"""Redis: its connection, its scripts, and how contents and answers are stored."""

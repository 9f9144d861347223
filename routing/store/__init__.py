"""Redis: the way to it, its scripts, and what rests in it sealed or for a while."""

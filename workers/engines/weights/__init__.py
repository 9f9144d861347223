"""The weights of a model: its digest, its dimensions and its size, read without loading it."""

"""Checks of an answer, as far as that is possible without asking another model."""

"""Texts that are longer than a model's context: map and reduce, for every lane."""

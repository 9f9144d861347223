"""Texts that are longer than the model's context: answered in parts, or not at all."""

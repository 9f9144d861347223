"""Outcomes of models on prompts, read and measured."""

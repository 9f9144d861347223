"""Outcomes of models on prompts: reading the files, and measuring rankings on them."""

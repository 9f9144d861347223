"""The prompts of `decide`, and the way back from a frontier model's text to probabilities."""

"""Batches: bulk work that can wait is answered by Bedrock within hours, at half the price."""

"""Batches on Bedrock: which jobs wait for one, and the state of each. Held in Redis."""

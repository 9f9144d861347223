"""Files that callers upload and batches write, each tenant's in a folder of its own."""

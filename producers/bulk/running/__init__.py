"""A bulk while it runs: rows are fed in blocks, results collected, and both written down."""

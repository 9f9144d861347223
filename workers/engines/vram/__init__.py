"""Whether a model, its cache and its batch fit the card."""

"""The memory of a card: whether a model, its cache and its batch fit, and what they take."""

"""Questions about a text or a state, the labels to choose from, and the answers to them."""

"""How much to believe an answer: the doubt, and the probabilities of labels."""

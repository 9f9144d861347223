"""The two fitted models, in plain Python: the verdict before an answer, the doubt after it."""

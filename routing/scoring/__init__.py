"""The two small fitted models: the verdict before an answer, the doubt after it. Plain Python."""

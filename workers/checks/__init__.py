"""Whether an answer is right, as far as that can be known without asking another model."""

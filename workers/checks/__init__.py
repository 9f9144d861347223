"""Whether an answer is right, as far as that is known without asking another model."""

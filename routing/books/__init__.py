"""The books: what left the building, what each call cost, and what the jobs came to."""

"""From a job to a prompt, and from a model's text back to content."""

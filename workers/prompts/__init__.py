"""From a job to a prompt, and from a text back to content."""

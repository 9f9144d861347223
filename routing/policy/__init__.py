"""What the operator allows: which lane a job takes, and whether a local answer will do."""

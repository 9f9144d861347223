"""Rules of the operator: which lane a job takes, and whether a local answer will do."""

"""What audits of local answers teach, and how that moves verdicts."""

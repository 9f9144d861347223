"""Learning from audits of local answers, and moving verdicts by what was learned."""

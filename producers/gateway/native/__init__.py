"""The endpoints in Forebay's own format: jobs of every kind, and the tenant."""

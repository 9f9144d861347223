"""The commands of an operator, about the jobs of all tenants."""

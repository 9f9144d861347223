"""A gateway over several fleets."""

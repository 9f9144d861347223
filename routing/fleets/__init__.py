"""Several fleets, each with a Redis of its own, and the map that says which tenant is where."""

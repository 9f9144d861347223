"""The move of a tenant from one fleet to another."""

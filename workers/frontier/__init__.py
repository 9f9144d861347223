"""Paid calls to frontier models and their money, and audits of local answers."""

"""Fits weights to outcomes and audits."""

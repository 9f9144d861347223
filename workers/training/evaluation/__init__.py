"""Measures how well routers rank outcomes that they were not fitted to."""

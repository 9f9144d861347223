"""Lanes of jobs that need no router: published when they are known, checked by the lane."""

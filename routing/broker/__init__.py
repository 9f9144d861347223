"""Celery and kombu, which carry doorbells and nothing else."""

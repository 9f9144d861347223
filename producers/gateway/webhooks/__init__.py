"""Webhooks: events of jobs, bulks and batches, delivered to their tenants over HTTP."""

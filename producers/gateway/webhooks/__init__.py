"""Webhooks: the ends of jobs, bulks and batches are told to their tenants over HTTP."""

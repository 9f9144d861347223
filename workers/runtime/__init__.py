"""The life of a worker process: Celery, the jobs in flight, leases, heartbeat, draining."""

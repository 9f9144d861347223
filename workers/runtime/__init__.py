"""The life of a worker process: Celery, the job in hand, its lease, its heartbeat, its end."""

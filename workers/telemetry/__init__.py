"""What others see of jobs while they are worked: log lines, Celery events, metrics."""

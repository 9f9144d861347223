"""What an operator sees: the jobs and queues of all tenants."""

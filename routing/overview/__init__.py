"""What an operator sees: the jobs and queues of all tenants, the workers, and the pace."""

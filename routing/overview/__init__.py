"""What an operator sees, and orders: jobs and queues of all tenants, workers, the pace."""

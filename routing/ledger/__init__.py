"""The durable record of every job and of the queues: one Lua script per transition."""

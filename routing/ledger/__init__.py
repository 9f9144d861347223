"""The durable record of every job, and who waits for what: one Lua script a transition."""

"""How many slots a load of jobs needs, by queueing theory."""

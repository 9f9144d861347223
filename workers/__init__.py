"""The workers take jobs off their queues and work them; one kind of worker process a file."""

"""What a text says in numbers, dates and times, and what follows from that."""

"""The ground floor: what a job is, what is known about it, and where it goes."""

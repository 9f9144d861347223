"""The server: the application, what surrounds each request, and the processes that run it."""

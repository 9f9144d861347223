"""What of a prompt a frontier service is sent: its turns and its stop strings."""

"""What responses of all services have in common: JSON, and bounds of bytes and time."""

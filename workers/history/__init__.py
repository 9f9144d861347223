"""What the fleet did in each minute of the last day, as the status page shows it."""

"""From outcomes to weights."""

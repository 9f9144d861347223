"""Whether the targets of pacing were reached, and if not, why."""

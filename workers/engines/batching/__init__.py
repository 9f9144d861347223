"""The step loop of every engine: admit, step, settle."""

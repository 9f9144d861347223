"""The step loop of every engine (admit, step, settle), and the echo engine."""

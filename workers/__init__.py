"""Takes jobs off and works them: one actor a file."""

"""What a machine with a GPU needs: checks, and kernels that are compiled once, ahead of time."""

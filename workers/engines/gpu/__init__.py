"""Checks of a machine with a GPU, and kernels that are compiled once, ahead of time."""

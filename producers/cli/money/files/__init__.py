"""The files that the commands about money read and write."""

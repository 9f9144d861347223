"""Puts jobs on: the client, the command line."""

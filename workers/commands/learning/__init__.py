"""The commands of `forebay router`, one a file."""

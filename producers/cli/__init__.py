"""The command `forebay`."""

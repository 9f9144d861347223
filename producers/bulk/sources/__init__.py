"""Where the rows of a bulk come from, one file a format."""

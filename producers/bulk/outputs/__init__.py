"""Where the results of a bulk go, one file a format."""

"""Chat completions that are stored: list, retrieve, change and delete them."""

"""The steps of the local lane, one a file: from the recall of an earlier answer to the outcome."""

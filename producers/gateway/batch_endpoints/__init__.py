"""The endpoints of files, batches and bulks, in each wire format."""

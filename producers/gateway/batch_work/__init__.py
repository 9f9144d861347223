"""Works batches: files of requests are answered as bulks, by one process of a gateway at a time."""

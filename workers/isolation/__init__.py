"""Work on content of others, in processes that can be killed."""

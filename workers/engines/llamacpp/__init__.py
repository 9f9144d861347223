"""llama.cpp, for machines without a GPU."""

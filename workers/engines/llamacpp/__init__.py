"""The llama.cpp engine, for machines without a GPU."""

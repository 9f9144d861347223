"""What a folder of weights says of itself, from its headers alone."""

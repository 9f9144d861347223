"""exllamav2 and exllamav3 behind one paged engine."""

"""Read numbers, dates, times and words from texts in several languages."""

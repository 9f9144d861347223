"""What AWS bills, and what it differs in from the books."""

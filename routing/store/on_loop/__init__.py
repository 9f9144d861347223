"""Redis for blocking code on an event loop."""

"""What may be used in a minute, and at once: by API keys of the gateway, and of models."""

"""The commands of the gateway: run it, and make the API keys that let callers in."""

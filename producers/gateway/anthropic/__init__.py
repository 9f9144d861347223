"""The endpoints in Anthropic's wire format."""

"""The endpoints in OpenAI's wire format."""

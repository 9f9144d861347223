"""Responses in OpenAI's wire format."""

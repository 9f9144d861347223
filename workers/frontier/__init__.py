"""Calls to Bedrock and their money; audits of local answers."""

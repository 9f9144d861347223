"""Bedrock: the provider that calls models by Converse through boto3."""

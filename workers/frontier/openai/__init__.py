"""Services that speak OpenAI's chat completions, as a provider: plain HTTP through urllib3."""

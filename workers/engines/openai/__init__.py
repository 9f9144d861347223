"""The engine for a server that runs already, with OpenAI's API: vLLM, TabbyAPI, llama-server."""

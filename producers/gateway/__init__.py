"""The HTTP gateway: any OpenAI or Anthropic client puts jobs on, and any language that has HTTP."""

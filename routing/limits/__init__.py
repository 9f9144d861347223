"""The limits on calls to Bedrock: prices, budgets, the circuit breaker, and pacing."""

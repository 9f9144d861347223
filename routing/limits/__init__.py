"""What limits calls to the frontier: money, its circuit breaker, and the pace."""

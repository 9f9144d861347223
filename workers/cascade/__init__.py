"""The local lane: answer, check, doubt, and keep or escalate."""

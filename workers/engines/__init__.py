"""Whatever makes tokens: one contract, several engines, each in a process of its own."""

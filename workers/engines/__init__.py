"""Engines that generate tokens: one contract, a table of engines, each in its own process."""

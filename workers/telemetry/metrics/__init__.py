"""Metrics of this worker, and of the fleet as the ledger knows it, for Prometheus."""

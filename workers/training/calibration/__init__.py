"""Fits calibrations to audits: of verdicts, of doubts, and of the probabilities of labels."""

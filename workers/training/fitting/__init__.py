"""Fits weights and calibrations to outcomes."""

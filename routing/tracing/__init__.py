"""Traces of jobs for OpenTelemetry: spans, how they are joined across processes, where they go."""

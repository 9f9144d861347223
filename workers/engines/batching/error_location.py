"""Tells where an error was raised without quoting what was worked on."""

from __future__ import annotations

from pathlib import Path


def error_location(error: BaseException) -> str:
    """Return the type and place of an error without its message, which may quote a job."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} at {Path(code.co_filename).name}:{trace.tb_lineno}"

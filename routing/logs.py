"""The logs of every worker process: one format, to stderr, and never content."""

from __future__ import annotations

import logging
import sys
import traceback


def to_stderr(level: int) -> None:
    """Log our own messages from `level` on, and other libraries' from `WARNING` on.

    What a library logs below a warning may be content.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("forebay", "celery"):
        logging.getLogger(name).setLevel(level)


def place(error: BaseException) -> str:
    """Return where an exception was raised, without its message, which may hold content."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-3:]))

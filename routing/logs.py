"""How every worker process logs: one format, to stderr, and only warnings of libraries."""

from __future__ import annotations

import logging
import sys


def to_stderr(level: int) -> None:
    """Log our own messages from `level` on. Libraries may log content below a warning."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("forebay", "celery"):
        logging.getLogger(name).setLevel(level)

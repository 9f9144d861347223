"""How every process of a worker logs: one form, to stderr, and of libraries warnings alone."""

from __future__ import annotations

import logging
import sys


def to_stderr(level: int) -> None:
    """Log what we say from `level` on. What libraries say below a warning may be content."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("forebay", "celery"):
        logging.getLogger(name).setLevel(level)

"""Log lines of jobs, which are many and nearly alike.

If our handler alone listens, no `LogRecord` is made: all but the time and the job's id is formatted
once for all jobs of which the same is said.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache

from forebay.routing.ledger.record import Record
from forebay.routing.log_lines.line_formats import Lines, timestamp
from forebay.routing.log_lines.line_handler import lone_handler
from forebay.routing.logs import Event, event

Fields = tuple[tuple[str, object], ...]

_ID = "a-job-of-this-line"
_EPOCH = timestamp(0.0)
FORMS = 2048  # lines that are remembered without time and id


class JobLines:
    """Logs lines about jobs to one logger."""

    def __init__(self, logger: logging.Logger) -> None:
        self._log = logger

    def say(self, level: int, name: Event, record: Record, message: str, more: Fields = ()) -> None:
        """Log a line about a job.

        Args:
            level: the level of the line.
            name: what the line tells.
            record: the job's record.
            message: what became of the job: codes, and never content.
            more: further fields and their values.
        """
        log = self._log
        if not log.isEnabledFor(level):
            return
        handler, job_id = lone_handler(log, level), record.id
        about = (record.kind, record.hop, record.attempts)
        if handler is None or not isinstance(handler.formatter, Lines):
            fields = dict(zip(_ABOUT, about, strict=True), **dict(more))
            log.log(level, "%s", message, extra=event(name, job=job_id, **fields))
            return
        lines, tenant = handler.formatter, job_id.partition(".")[0]
        key = (lines, lines.worker, log.name, level, name, tenant, message, about, more)
        before, between, after = _form(*key)
        handler.write_line(f"{before}{timestamp(time.time())}{between}{job_id}{after}", level)


_ABOUT = ("kind", "lane", "attempts")


@lru_cache(maxsize=FORMS)
def _form(
    lines: Lines,
    _worker: str,
    logger: str,
    level: int,
    name: Event,
    tenant: str,
    message: str,
    about: tuple[object, ...],
    more: Fields,
) -> tuple[str, str, str]:
    """Return what is before, between and after the time and the job's id in such a line."""
    record = logging.LogRecord(logger, level, "", 0, "%s", (message,), None)
    record.created = 0.0
    fields = dict(zip(_ABOUT, about, strict=True), **dict(more))
    record.__dict__ |= event(name, job=f"{tenant}.{_ID}", **fields)
    before, _, rest = lines.format(record).partition(_EPOCH)
    between, _, after = rest.rpartition(f"{tenant}.{_ID}")
    return before, between, after

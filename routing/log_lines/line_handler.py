"""Where log lines go: to stderr, formatted alike in every process of the fleet."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, TextIO, cast

from forebay.routing.log_lines.line_formats import WORKER_VARIABLE, Lines, line_format
from forebay.routing.log_lines.repeats import Repeats

#: Loggers of Celery that say for every doorbell that it came, and that it "succeeded".
_DOORBELL_LOGGERS = ("celery.worker.strategy", "celery.app.trace")


def to_stderr(level: int, worker: str = "") -> None:
    """Log our own messages from `level` on, and other libraries' from `WARNING` on.

    What a library logs below a warning may be content.

    Args:
        level: the lowest level of our messages, and of Celery's.
        worker: the name of this worker, which each line carries.
    """
    if worker:
        os.environ[WORKER_VARIABLE] = worker
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(LineHandler(sys.stderr))
        root.setLevel(logging.WARNING)
        root.handlers[0].setFormatter(line_format())
        _know_less()
        logging.captureWarnings(True)  # else they would stand between the lines, unformatted
    for handler in root.handlers:
        if worker and isinstance(handler.formatter, Lines):
            handler.formatter.worker = worker
    for name in ("forebay", "celery"):
        logging.getLogger(name).setLevel(level)
    for name in _DOORBELL_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _know_less() -> None:
    """Have records lack what no line shows: finding it out costs a third of a line."""
    logging._srcfile = None  # noqa: SLF001 - as logging's HOWTO says
    logging.setLogRecordFactory(_LeanRecord)


#: What no line shows; formats of others may name it.
_LACKING: dict[str, Any] = {
    "pathname": "(unknown file)", "filename": "(unknown file)", "module": "", "funcName": "",
    "lineno": 0, "relativeCreated": 0.0, "thread": None, "threadName": None, "process": None,
    "processName": None, "taskName": None, "exc_text": None, "stack_info": None,
}  # fmt: skip


class _LeanRecord(logging.LogRecord):
    """A record of what a line shows; what no line shows is the same for all records."""

    def __init__(self, name: str, level: int, *of: Any, **_: Any) -> None:
        # Not that of the base class, which takes apart the path that no line shows.
        _path, _line, self.msg, args, self.exc_info, *_rest = of
        if args and len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
            args = args[0]  # for messages with names, as in `%(job)s`
        self.__dict__.update(_LACKING, name=name, args=args, levelno=level)
        self.levelname = logging.getLevelName(level)
        self.created = time.time()
        self.msecs = self.created % 1 * 1000


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line as it comes, or those of a block together; see `LinesTogether`.

    Of lines that a loop repeats it writes some; see `Repeats`.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a line."""
        try:
            if self._repeats.filter(record):
                self.write_line(self.format(record), record.levelno)
        except Exception:  # noqa: BLE001 - as logging does: a line never breaks the program
            self.handleError(record)

    def write_line(self, line: str, level: int) -> None:
        """Write a line, or keep it until the block ends. A warning is written at once."""
        kept = _here.kept
        if kept is None:
            self.write_lines([line])
            return
        kept.append((self, line))
        if level >= logging.WARNING:
            _here.kept = []
            _write_kept(kept)

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines at once; what cannot be written, as on a full disk, is dropped."""
        text = "".join([f"{line}\n" for line in lines])
        self.acquire()
        try:
            self.stream.write(text)
            if not getattr(self.stream, "line_buffering", False):  # as standard error is
                self.stream.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            pass
        finally:
            self.release()


class LinesTogether:
    """A block whose lines of this thread are written in one write, at its end."""

    __slots__ = ("_inside",)

    def __enter__(self) -> None:
        """Begin to keep lines."""
        self._inside = _here.kept is not None  # of another such block, which writes them
        if not self._inside:
            _here.kept = []

    def __exit__(self, *_: object) -> None:
        """Write what was kept."""
        if not self._inside:
            kept, _here.kept = _here.kept, None
            _write_kept(kept or [])


class _Here(threading.local):
    """The lines that this thread keeps; `None` outside of a block."""

    kept: list[tuple[LineHandler, str]] | None = None


_here = _Here()


def _write_kept(kept: list[tuple[LineHandler, str]]) -> None:
    for handler, lines in groupby(kept, key=itemgetter(0)):
        handler.write_lines(line for _, line in lines)


def lone_handler(logger: logging.Logger, level: int) -> LineHandler | None:
    """Return our handler if nobody else sees what is logged to this logger at this level.

    A library that watches all records, as Sentry's does, puts its own function in place of
    `Logger.callHandlers`.
    """
    if logging.getLogRecordFactory() is not _LeanRecord or logger.filters:
        return None
    if logging.Logger.callHandlers.__module__ != logging.__name__:
        return None
    found, at = None, cast("logging.Logger | None", logger)
    while at is not None:
        for handler in at.handlers:
            if found is not None or type(handler) is not LineHandler:
                return None
            if handler.filters or handler.level > level:
                return None
            found = handler
        at = at.parent if at.propagate else None
    return found

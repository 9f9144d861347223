"""The two formats of a log line: text for people, or JSON if `FOREBAY_LOG=json`."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from forebay.routing.logs import Event, exception_text
from forebay.routing.settings import EnvironmentSettings, read

#: Carries the worker's name to the processes that the worker starts, such as its engine's.
WORKER_VARIABLE = "forebay_worker"


class LogSettings(EnvironmentSettings):
    """How lines are written.

    Attributes:
        log: `text` for people, or `json`: one JSON object a line.
    """

    log: Literal["text", "json"] = "text"


def line_format() -> Lines:
    """Return the format that the settings name."""
    return JsonLines() if read(LogSettings).log == "json" else TextLines()


class Lines(logging.Formatter):
    """Formats a record of any logger for this worker."""

    def __init__(self) -> None:
        super().__init__()
        self.worker = os.environ.get(WORKER_VARIABLE, "")


class JsonLines(Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, in ASCII."""
        values = {
            "time": timestamp(record.created),
            "level": record.levelname,
            "worker": self.worker,
            "event": getattr(record, "event", Event.LIBRARY.value),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[1]:
            values["exception"] = exception_text(record.exc_info[1])
        return json.dumps(values, default=str)


class TextLines(Lines):
    """A line for people: time, level, worker, event, message, and fields the message lacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; an exception follows on lines of its own."""
        message = record.getMessage()
        words = [timestamp(record.created), record.levelname]
        if self.worker:
            words.append(self.worker)
        words.append(f"{getattr(record, 'event', record.name)}:")
        if message:
            words.append(message)
        for key, value in getattr(record, "fields", {}).items():
            if not (isinstance(value, str) and value in message):
                words.append(f"{key}={value}")
        line = " ".join(words)
        if record.exc_info and record.exc_info[1]:
            return f"{line}\n{exception_text(record.exc_info[1])}"
        return line


def timestamp(created_s: float) -> str:
    """Return a Unix time in UTC, to the millisecond."""
    return _timestamp(int(created_s * 1000))


@lru_cache(maxsize=8)
def _timestamp(created_ms: int) -> str:
    """Return a time in UTC; the lines of one millisecond share it."""
    return f"{_date_and_time(created_ms // 1000)}.{created_ms % 1000:03d}+00:00"


@lru_cache(maxsize=2)
def _date_and_time(second: int) -> str:
    """Return a second in UTC; the lines of one second share it."""
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")

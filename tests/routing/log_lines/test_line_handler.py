"""Lines of a block are written in one write, and a watcher of all records is noticed."""

from __future__ import annotations

import logging

import pytest

from forebay.routing.log_lines import line_handler
from forebay.routing.log_lines.line_formats import TextLines
from forebay.routing.log_lines.line_handler import LineHandler, LinesTogether, lone_handler


class Stream:
    """Keeps each write; like standard error, it flushes at the end of a line by itself."""

    line_buffering = True

    def __init__(self, *, full: bool = False):
        self.writes, self.full = [], full

    def write(self, text):
        if self.full:
            raise OSError(28, "No space left on device")
        self.writes.append(text)


def detached(name):
    """Return a logger to which pytest does not listen."""
    return logging.Logger(name)  # noqa: LOG001 - pytest listens to those that `getLogger` makes


@pytest.fixture
def listened(monkeypatch):
    """Return a logger to whom our handler alone listens, and the handler."""
    monkeypatch.setattr(logging, "_srcfile", None)
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(line_handler._LeanRecord)
    logger, handler = detached("alone"), LineHandler(Stream())
    logger.setLevel(logging.INFO)
    handler.setFormatter(TextLines())
    logger.addHandler(handler)
    yield logger, handler
    logging.setLogRecordFactory(factory)


def words(writes):
    return [[line.split()[-1] for line in text.splitlines()] for text in writes]


def test_lines_of_a_block_are_written_in_one_write(listened):
    logger, handler = listened
    logger.info("before")
    with LinesTogether():
        logger.info("one")
        with LinesTogether():
            logger.info("two")
        logger.info("three")
    logger.info("after")
    assert words(handler.stream.writes) == [["before"], ["one", "two", "three"], ["after"]]


def test_a_warning_is_written_at_once_behind_what_was_kept(listened):
    logger, handler = listened
    with LinesTogether():
        logger.info("one")
        logger.warning("bad")
        assert words(handler.stream.writes) == [["one", "bad"]]
        logger.info("two")
    assert words(handler.stream.writes) == [["one", "bad"], ["two"]]


def _break_off(logger):
    with LinesTogether():
        logger.info("one")
        raise ZeroDivisionError


def test_lines_are_written_if_the_block_raises(listened):
    logger, handler = listened
    with pytest.raises(ZeroDivisionError):
        _break_off(logger)
    assert words(handler.stream.writes) == [["one"]]


def test_a_full_disk_neither_raises_nor_says_what_the_line_was(listened, capsys):
    logger, handler = listened
    handler.stream.full = True
    with LinesTogether():
        logger.info("kanarie")
    logger.warning("kanarie")
    assert capsys.readouterr() == ("", "")


def test_our_handler_is_alone_until_somebody_else_listens(listened, monkeypatch):
    logger, handler = listened
    assert lone_handler(logger, logging.INFO) is handler
    child = detached("alone.child")
    child.parent = logger
    assert lone_handler(child, logging.INFO) is handler
    other = logging.NullHandler()
    child.addHandler(other)
    assert lone_handler(child, logging.INFO) is None
    child.removeHandler(other)
    child.propagate = False
    assert lone_handler(child, logging.INFO) is None
    child.propagate = True
    handler.setLevel(logging.WARNING)
    assert lone_handler(child, logging.INFO) is None
    assert lone_handler(child, logging.WARNING) is handler

    def watch(_logger, _record):
        """Stand for what Sentry puts in place."""

    monkeypatch.setattr(logging.Logger, "callHandlers", watch)
    assert lone_handler(child, logging.WARNING) is None
    monkeypatch.undo()
    logging.setLogRecordFactory(logging.LogRecord)
    assert lone_handler(child, logging.WARNING) is None


def test_formats_of_others_find_what_they_name(listened):
    logger, handler = listened
    handler.setFormatter(logging.Formatter("%(process)s %(filename)s %(lineno)d %(message)s"))
    logger.info("said")
    assert handler.stream.writes == ["None (unknown file) 0 said\n"]


def test_a_filter_is_asked(listened):
    logger, handler = listened
    for filtered in (logger, handler):
        filtered.addFilter(lambda _record: False)
        assert lone_handler(logger, logging.INFO) is None
        filtered.filters.clear()
    assert lone_handler(logger, logging.INFO) is handler

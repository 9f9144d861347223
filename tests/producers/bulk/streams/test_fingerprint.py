"""Whether an input is the one that a bulk began with, and what has changed."""

import dataclasses
import hashlib
import os

import pytest

from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.streams.fingerprint import Fingerprint

DATA = b'{"n": 1}\n{"n": 2}\n'


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(DATA)
    return path


def test_a_fingerprint_survives_json(path):
    then = open_source(path).fingerprint()
    assert then.size == len(DATA)
    assert then.digest == hashlib.sha256(DATA).hexdigest()
    assert Fingerprint(**dataclasses.asdict(then)) == then


@pytest.mark.parametrize(
    ("now", "change"),
    [
        (DATA, None),
        (DATA[:9], "was cut from 18 to 9 bytes since the bulk began"),
        (
            DATA + b"{}\n",
            "has 3 bytes more than the 18 that it had when the bulk began; those are the same",
        ),
        (
            b"x" * 20,
            "has 2 bytes more than when the bulk began, and other content before them",
        ),
        (
            DATA.replace(b"1", b"7"),
            "has other content than when the bulk began, in the same 18 bytes",
        ),
    ],
)
def test_what_changed_is_said(path, now, change):
    then = open_source(path).fingerprint()
    path.write_bytes(now)
    os.utime(path, (1, 1))
    assert open_source(path).changed_since(then) == (change and f"{path} {change}")


def test_a_file_of_the_same_size_and_time_is_not_read(path):
    then = open_source(path).fingerprint()
    path.write_bytes(DATA.replace(b"1", b"7"))
    os.utime(path, ns=(then.modified_ns, then.modified_ns))
    assert open_source(path).changed_since(then) is None


def test_a_file_that_is_gone_has_changed(path):
    source = open_source(path)
    then = source.fingerprint()
    path.unlink()
    assert source.changed_since(then) == f"{path} cannot be read: No such file or directory"

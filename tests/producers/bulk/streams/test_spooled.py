"""Standard input and iterables: kept as they are read, and read again by another process."""

import io
import os
import subprocess
import sys

import pytest

from forebay.producers.bulk.sources.open_source import open_source
from forebay.producers.bulk.streams.inputs import FileInput, NotYet
from forebay.producers.bulk.streams.spooled import SpooledInput, readiness
from forebay.routing.errors import InvalidJob

DATA = b'{"n": 1}\n{"n": 2}\n{"n": 3}\n'

READ_STDIN = """
import sys
from pathlib import Path
from forebay.producers.bulk.sources.open_source import open_source
with open_source("-", spool=Path(sys.argv[1]), format=sys.argv[2]) as source:
    source.columns()
    for row in source.rows():
        print(row.fields["n"], flush=True)
"""


@pytest.mark.parametrize(
    ("form", "lines"), [("csv", ["n\n1\n", "2\n"]), ("jsonl", ['{"n": "1"}\n', '{"n": "2"}\n'])]
)
def test_rows_of_standard_input_come_as_they_are_written(tmp_path, form, lines):
    spool = tmp_path / "spool"
    reader = subprocess.Popen(
        [sys.executable, "-c", READ_STDIN, str(spool), form],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    reader.stdin.write(lines[0])
    reader.stdin.flush()
    assert reader.stdout.readline() == "1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["spool.part"]
    assert reader.communicate(lines[1]) == ("2\n", None)
    assert reader.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]
    assert [row.fields for row in open_source(spool, format=form).rows()] == [
        {"n": "1"},
        {"n": "2"},
    ]


def test_the_same_input_goes_on_where_it_was_cut(tmp_path):
    spool = tmp_path / "spool"
    first = SpooledInput(io.BytesIO(DATA).read, path=spool, name="standard input")
    first.read_at(0, 12)
    first.close()
    with pytest.raises(InvalidJob, match="spool: was not read to its end: give the same"):
        open_source(spool, format="jsonl")
    again = SpooledInput(io.BytesIO(DATA).read, path=spool, name="standard input")
    assert (again.size(), again.complete, again.rereading) == (12, False, 0.0)
    assert again.read_at(0, 9) == DATA[:9]
    assert again.rereading == 0.0
    assert again.open(9).read() == DATA[9:]
    assert (again.complete, again.rereading) == (True, None)
    again.close()
    assert spool.read_bytes() == DATA


@pytest.mark.parametrize("other", [DATA[:5], DATA.replace(b"1", b"7"), b""])
def test_another_input_is_refused(tmp_path, other):
    spool = tmp_path / "spool"
    first = SpooledInput(io.BytesIO(DATA).read, path=spool, name="standard input")
    first.read_at(0, 12)
    first.close()
    again = SpooledInput(io.BytesIO(other).read, path=spool, name="standard input")
    with pytest.raises(InvalidJob, match="standard input: does not begin with the 12 bytes"):
        again.read_at(12, 100)
    again.close()


def test_what_is_skipped_may_come_as_slowly_as_what_is_new(tmp_path):
    spool, came = tmp_path / "spool", []
    first = SpooledInput(io.BytesIO(DATA).read, path=spool, name="standard input")
    first.read_at(0, 12)
    first.close()
    read_end, write_end = os.pipe()
    again = SpooledInput(
        lambda size: os.read(read_end, size), path=spool, name="standard input",
        ready=readiness(read_end),
    )  # fmt: skip
    again.wait_at_most(0.01)
    for start in range(0, 12, 6):
        with pytest.raises(NotYet):
            again.read_at(12, 100)
        came.append(again.rereading)
        os.write(write_end, DATA[start : start + 6])
    os.write(write_end, DATA[12:])
    os.close(write_end)
    assert came == [0.0, 0.5]
    assert again.open().read() == DATA
    assert again.rereading is None
    again.close()
    os.close(read_end)


def test_a_complete_spool_is_not_filled_again(tmp_path):
    (tmp_path / "spool").write_bytes(DATA)
    with pytest.raises(InvalidJob, match="is complete: open it as a file"):
        SpooledInput(io.BytesIO(DATA).read, path=tmp_path / "spool", name="standard input")


def test_an_offset_that_was_never_reached_is_refused(tmp_path):
    spooled = SpooledInput(io.BytesIO(DATA).read, path=tmp_path / "spool", name="standard input")
    with pytest.raises(InvalidJob, match="is shorter than it was: 0 bytes are kept of 5"):
        spooled.open(5)
    spooled.close()


def test_two_readers_share_one_live_input():
    spooled = SpooledInput(io.BytesIO(DATA).read, name="standard input")
    one, two = spooled.open(), spooled.open()
    assert one.readline() == two.readline() == DATA[:9]
    assert two.read() == one.read() == DATA[9:]
    spooled.close()


def test_the_fingerprint_waits_for_the_end(tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    spooled = SpooledInput(io.BytesIO(DATA).read, name="standard input")
    then = FileInput(tmp_path / "file").fingerprint()
    assert spooled.fingerprint().digest == then.digest
    assert spooled.changed_since(then) is None
    spooled.close()
    other = SpooledInput(io.BytesIO(DATA * 2).read, name="standard input")
    assert other.changed_since(then) == (
        "has other content than when the bulk began: 54 bytes, not 27"
    )
    other.close()


def test_a_full_disk_is_one_error():
    script = """
import resource, io
from pathlib import Path
from forebay.producers.bulk.streams.spooled import SpooledInput
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
spooled = SpooledInput(io.BytesIO(b"x" * 100).read, name="standard input")
spooled.read_at(0, 100)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip().splitlines()[-1] == (
        "forebay.routing.errors.Unavailable: standard input: cannot be kept on disk: File too "
        "large; free some space and resume"
    )


def test_a_named_pipe_is_read_like_standard_input(tmp_path):
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", f"cat > '{pipe}'"], stdin=subprocess.PIPE)
    writer.stdin.write(DATA)
    writer.stdin.close()
    with open_source(pipe) as source:
        assert [row.fields["n"] for row in source.rows()] == [1, 2, 3]
    assert writer.wait() == 0

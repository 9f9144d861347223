"""A file that only grows: what was appended survives, and nothing else does."""

import subprocess
import sys
from pathlib import Path

import pytest

from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.routing.errors import InvalidJob

FULL_DISK = """
import resource, sys
from pathlib import Path
from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.routing.errors import Unavailable
file = DurableFile(Path(sys.argv[1]))
file.append(b"x" * 60)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
for data in (b"y" * 60, b"z" * 60):
    try:
        file.append(data)
    except Unavailable as error:
        print(error, Path(sys.argv[1]).stat().st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(file.append(b"w" * 60))
"""


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out"


def append(file, data):
    try:
        return file.append(data)
    finally:
        file.close()


def test_append_returns_the_size_on_the_disk(path):
    file = DurableFile(path)
    assert (file.append(b"abc"), file.append(b""), file.append(b"de")) == (3, 3, 5)
    file.close()
    file.close()
    assert path.read_bytes() == b"abcde"
    assert file.closed


def test_resuming_keeps_what_counts_and_drops_the_rest(path):
    path.write_bytes(b"abcdef")
    assert append(DurableFile(path, resume_at=3), b"X") == 4
    assert path.read_bytes() == b"abcX"


def test_resuming_at_the_start_needs_no_file(path):
    assert append(DurableFile(path, resume_at=0), b"X") == 1


def test_a_file_that_exists_is_refused_and_left_as_it_is(path):
    path.write_bytes(b"precious")
    with pytest.raises(InvalidJob, match="out: exists already: resume its bulk, or overwrite it"):
        DurableFile(path)
    assert path.read_bytes() == b"precious"
    assert append(DurableFile(path, overwrite=True), b"new") == 3
    assert path.read_bytes() == b"new"


def test_a_file_that_was_cut_is_refused_and_left_as_it_is(path):
    path.write_bytes(b"abc")
    with pytest.raises(InvalidJob, match="out: has 3 of the 5 bytes that were written"):
        DurableFile(path, resume_at=5)
    assert path.read_bytes() == b"abc"


def test_a_file_that_is_being_written_is_refused(path):
    first = DurableFile(path)
    with pytest.raises(InvalidJob, match="out: is being written by another process"):
        DurableFile(path, resume_at=0)
    first.append(b"abc")
    first.close()
    DurableFile(path, resume_at=3).close()


def test_a_full_disk_is_one_error_and_leaves_what_was_there(path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    error = f"{path}: cannot be written: File too large; free some space and resume"
    assert done.stdout.splitlines() == [f"{error} 60", f"{error} 60", "120"]
    assert path.read_bytes() == b"x" * 60 + b"w" * 60


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "cannot be written: Is a directory"),
        ("missing/out", "cannot be written: No such file or directory"),
        ("a\0b", "is not a valid file name"),
    ],
)
def test_a_file_that_cannot_be_made_is_refused(tmp_path, name, reason):
    with pytest.raises(InvalidJob, match=reason):
        DurableFile(tmp_path / name, overwrite=True)


def test_a_closed_descriptor_is_given_back(path):
    before = open_files()
    for _ in range(3):
        DurableFile(path, overwrite=True).close()
        with pytest.raises(InvalidJob):
            DurableFile(path)
        with pytest.raises(InvalidJob):
            DurableFile(path, resume_at=9)
    assert open_files() == before


def _replace(path):
    path.unlink()
    path.write_bytes(b"abc")


LOSSES = {
    "was removed": Path.unlink,
    "was replaced": _replace,
    "was cut": lambda path: path.write_bytes(b"a"),  # in place
    "got other bytes": lambda path: path.write_bytes(b"abcmore"),
}


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("step", [lambda file: file.append(b"d"), DurableFile.finish])
def test_a_file_that_somebody_takes_away_meanwhile_is_told_and_not_called_written(path, how, step):
    file = DurableFile(path)
    file.append(b"abc")
    LOSSES[how](path)
    with pytest.raises(
        InvalidJob, match=f"{how} while it was written: (begin again|save them)"
    ) as caught:
        step(file)
    assert str(path) in str(caught.value)
    file.close()


def test_a_file_that_is_gone_is_not_resumed(path):
    with pytest.raises(InvalidJob, match="is gone: begin again with overwrite"):
        DurableFile(path, resume_at=3)

"""A full disk stops a bulk cleanly, whichever file it meets; with room, the bulk goes on."""

import os
import subprocess

import pyarrow.parquet
import pytest

from forebay.routing.errors import InvalidJob, Unavailable

pytestmark = pytest.mark.slow
pytest_plugins = ["waterfall", "answering"]

ROWS = 150
BLOCK = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={256 * BLOCK}", "none", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def leave(disk, room):
    """Fill the disk but for so many bytes; return the file that fills it."""
    filler, free = disk / "filler", os.statvfs(disk).f_bavail * BLOCK
    filler.write_bytes(bytes(free - room - BLOCK))
    return filler


def texts():
    for number in range(ROWS):
        yield {"body": f"question {number}"} if number % 9 else {"nobody": "x" * 300}


def content(path):
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    return path.read_bytes()


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.npy"])
def test_a_bulk_goes_on_once_the_disk_has_room(client, disk, tmp_path, name):
    how = {"kind": "embed", "text_field": "body"}
    with client.bulk(texts(), out=tmp_path / name, **how) as calm:
        calm.wait(60)
    stopped = 0
    for room in (0, 2, 9):
        folder = disk / str(room)
        folder.mkdir()
        filler = leave(disk, room * BLOCK)
        try:
            with client.bulk(texts(), out=folder / name, **how) as bulk:
                bulk.wait(60)
        except (Unavailable, InvalidJob) as error:
            assert "No space left" in str(error)  # noqa: PT017 - a larger room is enough
            stopped += 1
        filler.unlink()
        if (folder / f"{name}.bulk" / "manifest.json").exists():
            again = client.resume_bulk(folder / name, rows=texts())
        else:
            again = client.bulk(texts(), out=folder / name, **how)
        with again:
            again.wait(60)
        assert content(folder / name) == content(tmp_path / name)
        assert again.bad_rows.read_text() == calm.bad_rows.read_text()
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert stopped > 1

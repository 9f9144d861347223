"""Uploads at the same time keep within the bound of their tenant together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.producers.gateway.errors import BodyTooLarge
from forebay.producers.gateway.files.file_store import FileStore

MOST = 100
HOLDER = """
import sys, time
from pathlib import Path
from forebay.producers.gateway.files.file_store import FileStore
held = FileStore(Path(sys.argv[1]), max_bytes=100, keep_s=60).reserve("acme", 60)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "files", max_bytes=MOST, keep_s=60)


def put(store, tmp_path, size):
    content = tmp_path / "content"
    content.write_bytes(bytes(size))
    return store.add("acme", content, name="a", purpose="batch")


def test_what_comes_and_what_is_there_count_together(store, tmp_path):
    put(store, tmp_path, 40)
    coming = store.reserve("acme", 50)
    with pytest.raises(BodyTooLarge, match="take 90 of 100 bytes"):
        store.reserve("acme", 11)
    store.reserve("globex", 100).close()
    store.reserve("acme", 10).close()
    coming.close()
    store.reserve("acme", 60).close()


def test_no_more_is_reserved_than_there_is_room_however_many_ask_at_once(store):
    def reserved(_):
        try:
            return store.reserve("acme", 10)
        except BodyTooLarge:
            return None

    with ThreadPoolExecutor(16) as threads:
        held = [one for one in threads.map(reserved, range(64)) if one]
    assert len(held) == MOST // 10
    for one in held:
        one.close()


def test_the_room_of_a_process_that_was_killed_is_free_again(store, tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "files")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BodyTooLarge):
            store.reserve("acme", 50)
        process.kill()
    store.reserve("acme", 100).close()


def test_a_deleted_file_takes_room_as_long_as_a_batch_holds_it(store, tmp_path):
    file = put(store, tmp_path, 60)
    (tmp_path / "content").unlink()
    folder = store.batch_folder("acme.1")
    os.link(store.content("acme", file.id), folder / "input.jsonl")
    store.reserve("acme", 40).close()  # it counts once
    store.delete("acme", file.id)
    with pytest.raises(BodyTooLarge, match="take 60 of 100 bytes"):
        store.reserve("acme", 41)
    shutil.rmtree(folder)
    store.reserve("acme", 100).close()

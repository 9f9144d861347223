"""The room that the files of a tenant may take."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from forebay.producers.gateway.errors import BodyTooLarge
from forebay.producers.gateway.files.file_store import FileStore
from forebay.routing.errors import NotFound

BYTES, MAX_BYTES = 400, 1_000


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "files", max_bytes=MAX_BYTES, keep_s=60)


@pytest.fixture
def uploaded(store, tmp_path):
    """Return a function that stores a file of a tenant."""

    def upload(tenant):
        path = tmp_path / "upload"
        path.write_bytes(bytes(BYTES))
        file = store.add(tenant, path, name="a", purpose="batch")
        path.unlink()
        return file

    return upload


@pytest.fixture
def finds_room(store):
    """Return a function that says whether a file of a tenant would find room."""

    def finds(tenant, size):
        try:
            with closing(store.reserve(tenant, size)):
                return True
        except BodyTooLarge:
            return False

    return finds


def test_a_tenants_files_have_a_limit_together_and_leave_others_theirs(store, uploaded, finds_room):
    first, _ = uploaded("acme"), uploaded("acme")
    assert finds_room("acme", MAX_BYTES - 2 * BYTES)
    with pytest.raises(BodyTooLarge, match="take 800 of 1,000 bytes"):
        store.reserve("acme", BYTES)
    assert finds_room("other", MAX_BYTES)
    store.delete("acme", first.id)
    assert finds_room("acme", BYTES)
    with pytest.raises(NotFound):
        store.content("acme", first.id)


@pytest.mark.parametrize("name", ["input.jsonl", "input"])
def test_the_input_of_a_batch_takes_room_once_and_also_after_its_file(
    store, uploaded, finds_room, name
):
    file = uploaded("acme")
    os.link(store.content("acme", file.id), store.batch_folder("acme.b1") / name)
    assert finds_room("acme", MAX_BYTES - BYTES)
    store.delete("acme", file.id)
    assert not finds_room("acme", MAX_BYTES - BYTES + 1)

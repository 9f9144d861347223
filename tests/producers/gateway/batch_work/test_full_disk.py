"""A full disk fails no batch: its caller is told so, or the batch waits for room."""

from __future__ import annotations

import json
import resource

import anthropic
import openai
import psutil
import pytest

from forebay.producers.gateway.batch_endpoints.openai_lines import ChatLines
from forebay.producers.gateway.batch_work.line_format import Desk
from forebay.producers.gateway.batch_work.outputs import ERRORS
from forebay.producers.gateway.batch_work.validation import INPUT, ROWS
from forebay.producers.gateway.batch_work.working import Workbench
from forebay.producers.gateway.batches.batch import Terms
from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.producers.gateway.files.file_store import FileStore
from forebay.routing.base import KINDS
from forebay.routing.errors import Unavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from patience import until

ROOM = 4_096  # bytes of a file
CHAT = "/v1/chat/completions"
GOOD = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
BAD = {"model": "auto"}  # no job can be made of it, so no fleet is needed to end it


@pytest.fixture(scope="session")
def key(keys):
    """Return a key of a tenant that nobody else is."""
    return keys.create("no-room", scopes=("submit", "read", "admin"))[1]


@pytest.fixture
def full(served):
    """Let the processes of the gateway write no file beyond so many bytes."""
    (gateway,) = [proc for proc in served.procs if proc.name == "gateway"]
    process = psutil.Process(gateway.pid)
    pids = [process.pid, *(child.pid for child in process.children(recursive=True))]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, before[pid][1]))
    yield
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before[pid])


@pytest.mark.slow
def test_an_upload_and_a_batch_that_find_no_room_are_refused_and_leave_nothing(
    full, served, openai_client, anthropic_client
):
    with pytest.raises(openai.InternalServerError, match="File too large") as refused:
        openai_client.files.create(file=("a.jsonl", b"x" * 2 * ROOM), purpose="batch")
    assert (refused.value.status_code, refused.value.code) == (503, "unavailable")
    message = {"role": "user", "content": "x" * 2 * ROOM}
    params = {"model": "auto", "max_tokens": 5, "messages": [message]}
    with pytest.raises(anthropic.InternalServerError, match="File too large"):
        anthropic_client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    left = set((served.folder / "files" / "no-room").rglob("*"))
    assert [path for path in left if path.is_file()] == [
        served.folder / "files/no-room/coming/lock"
    ]
    assert not [path for path in left if path.parent.name == "batches"]
    until(lambda: not list((served.folder / "files" / "incoming").iterdir()))


@pytest.mark.parametrize(("name", "body"), [(ROWS, GOOD), (ERRORS, BAD)])
def test_a_batch_does_not_fail_for_a_full_disk_and_goes_on_once_there_is_room(
    redis, tmp_path, name, body
):
    store, files = BatchStore(redis), FileStore(tmp_path, max_bytes=10**9, keep_s=60)
    ledger = Ledger(redis, Settings(), lambda: "{}")
    desk, forms = Desk("acme", Policy(), {}, "deny", dict.fromkeys(KINDS, ())), {CHAT: ChatLines()}
    bench = Workbench(ledger, store, files, forms, lambda _: desk, lambda _: None)
    batch = store.create(store.new_id("acme"), files.id, Terms(family="openai", endpoint=CHAT))
    folder = files.batch_folder(batch.id)
    line = {"custom_id": "a", "url": CHAT, "body": body}
    (folder / INPUT).write_text(json.dumps(line) + "\n")
    (folder / name).symlink_to("/dev/full")
    with pytest.raises(Unavailable, match="No space left"):
        bench.work(batch.id, lambda: None)
    assert not store.find(batch.id).ended
    (folder / name).unlink()
    if body is BAD:
        assert bench.work(batch.id, lambda: None)
        assert store.find(batch.id).state == "completed"

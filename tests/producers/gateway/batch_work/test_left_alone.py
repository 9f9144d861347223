"""A batch that is cancelled, or whose window ends, while nobody works it: nothing is left of it."""

from __future__ import annotations

import json
import time

import pytest

from forebay.producers.bulk.running.feeder import FIRST_ROWS, SHARDS_PER_ROUND_TRIP
from forebay.producers.gateway.batch_endpoints.openai_lines import ChatLines
from forebay.producers.gateway.batch_work.holding import LetGo
from forebay.producers.gateway.batch_work.line_format import Desk
from forebay.producers.gateway.batch_work.validation import INPUT
from forebay.producers.gateway.batch_work.working import Workbench
from forebay.producers.gateway.batches.batch import Terms
from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.producers.gateway.files.file_store import FileStore
from forebay.routing.base import KINDS
from forebay.routing.bulk.bulks import Bulks
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from patience import until

CHAT = "/v1/chat/completions"
LINES = 60
MORE_THAN_A_ROUND_TRIP = (SHARDS_PER_ROUND_TRIP + 1) * FIRST_ROWS


@pytest.fixture
def bench(redis, tmp_path):
    files = FileStore(tmp_path, max_bytes=10**9, keep_s=60)
    desk = Desk("acme", Policy(), {}, "deny", dict.fromkeys(KINDS, ()))
    ledger = Ledger(redis, Settings(), lambda: "{}")
    forms = {CHAT: ChatLines()}
    return Workbench(ledger, BatchStore(redis), files, forms, lambda _: desk, lambda _: None)


def made(bench, count=LINES, **terms):
    """Return a batch that waits to be worked."""
    terms = Terms(family="openai", endpoint=CHAT, **terms)
    batch = bench.store.create(bench.store.new_id("acme"), bench.files.id, terms)
    body = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
    lines = [{"custom_id": str(number), "url": CHAT, "body": body} for number in range(count)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (bench.files.batch_folder(batch.id) / INPUT).write_text(text)
    return batch


def states(redis):
    return {redis.hget(key, "state") for key in redis.keys("fb:job:acme.*")}


def die_once_rows_wait(bench, redis, batch):
    """Have a process begin with a batch, and let go of it."""

    def still():
        if states(redis):
            raise LetGo

    with pytest.raises(LetGo):
        bench.work(batch.id, still)
    assert states(redis) == {b"waiting"}


def test_one_whose_process_died_is_cancelled_on_the_ledger_too(bench, redis):
    batch = made(bench)
    die_once_rows_wait(bench, redis, batch)
    bench.store.cancel(bench.store.find(batch.id))
    assert bench.work(batch.id, lambda: None)
    ended = bench.store.find(batch.id)
    assert (ended.state, ended.total, ended.cancelled) == ("cancelled", LINES, LINES)
    assert states(redis) <= {b"cancelled"}  # those that were collected are forgotten
    assert Bulks(bench.ledger).get(batch.id).state == "cancelled"


def test_one_that_nobody_has_begun_puts_nothing_on_the_ledger(bench, redis):
    batch = made(bench)
    bench.store.cancel(batch)
    assert bench.work(batch.id, lambda: None)
    assert bench.store.find(batch.id).state == "cancelled"
    assert states(redis) == set()


def test_one_whose_window_ended_before_anybody_began_is_expired(bench, redis):
    batch = made(bench, window="1s", expires=time.time() - 1)
    assert bench.work(batch.id, lambda: None)
    ended = bench.store.find(batch.id)
    assert (ended.state, ended.total, ended.expired) == ("expired", LINES, LINES)
    assert states(redis) == set()


def test_one_whose_window_ends_after_its_process_died_is_expired(bench, redis):
    """Also the rows that no process has put on the ledger."""
    batch = made(bench, MORE_THAN_A_ROUND_TRIP, window="5s", expires=time.time() + 5)
    die_once_rows_wait(bench, redis, batch)
    assert len(redis.keys("fb:job:acme.*")) * FIRST_ROWS < MORE_THAN_A_ROUND_TRIP
    until(lambda: time.time() > batch.terms.expires)
    until(lambda: bench.ledger.sweep() is not None and states(redis) == {b"expired"})

    def sweep():
        bench.ledger.sweep()

    assert bench.work(batch.id, sweep)
    ended = bench.store.find(batch.id)
    assert (ended.state, ended.expired) == ("expired", MORE_THAN_A_ROUND_TRIP)

"""Each script has what it uses of the prelude, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from forebay.producers.gateway.batches.batch import Terms
from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.routing.bulk.bulks import Bulks
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store import scripts

PRELUDE = (Path(scripts.__file__).parent / "prelude.lua").read_text()
DEFINED = re.findall(r"^local (?:function )?(\w+)", PRELUDE, re.MULTILINE)


def definitions(text):
    return re.findall(r"^local (?:function )?(\w+)", text, re.MULTILINE)


def test_the_prelude_is_read_whole():
    known = dict(scripts._prelude())
    assert list(known) == DEFINED
    lines = [line for line in PRELUDE.splitlines() if line and not line.startswith("--")]
    read = [line for text in known.values() for line in text.splitlines() if line]
    assert read == lines


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_has_before_it_what_it_uses(name):
    """A name that is missing would stop the script halfway, and only where it is used."""
    text = re.sub(r"--[^\n]*|'[^'\n]*'", "", scripts.transition(name))
    missing = {word for word in set(re.findall(r"\w+", text)) & set(DEFINED)
               if re.search(rf"(?<![.\w]){word}\b", text.replace("..", " "))
               and not re.search(rf"local (?:function )?[^=\n]*\b{word}\b", text)
               and not re.search(rf"\([^)\n]*\b{word}\b[^(\n]*\)\n", text)}  # fmt: skip
    assert missing == set()


def test_a_small_script_is_small(redis):
    assert set(definitions(scripts.transition("lease"))) & set(DEFINED) == {"number"}
    assert len(definitions(scripts.transition("renew"))) < len(DEFINED) / 4
    for name in scripts.names():  # Redis compiles them
        assert redis.script_load(scripts.transition(name)) == scripts.digest(name)


def test_fields_are_set_of_what_is_there_alone(redis):
    assert not scripts.set_fields(redis, "fb:batch:acme.1", "created", {"total": 1})
    redis.hset("fb:batch:acme.1", "created", "5")
    assert scripts.set_fields(redis, "fb:batch:acme.1", "created", {"total": 1, "rows": 2})
    assert redis.hgetall("fb:batch:acme.1") == {b"created": b"5", b"total": b"1", b"rows": b"2"}
    assert redis.keys() == [b"fb:batch:acme.1"]
    with pytest.raises(ResponseError, match="key"):
        scripts.set_fields(redis, "fb:job:acme.1", "state", {"state": "done"})


def test_a_record_that_is_deleted_while_it_is_changed_does_not_come_back(redis, monkeypatch):
    """Whatever a change looks at first, the record may be gone after the look."""
    store, bulks = BatchStore(redis), Bulks(Ledger(redis, Settings(), lambda: "{}"))
    batch = store.create(store.new_id("acme"), "here", Terms(family="openai"))
    bulks.create(batch.id, {}, None)
    exists = redis.exists

    def look(*names):
        found = exists(*names)
        redis.delete(*names)
        return found

    monkeypatch.setattr(redis, "exists", look)
    store.update(batch.id, total=3)
    bulks.update(batch.id, sent=3)
    for key in (f"fb:batch:{batch.id}", f"fb:bulk:{batch.id}"):
        assert redis.hget(key, "created") or not redis.hlen(key)

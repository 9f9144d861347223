"""The egress log: one chain whoever writes, bounded in Redis, and no change goes unseen."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from egress import leaving
from forebay.routing.books.egress_entry import GENESIS, Entry, digest
from forebay.routing.books.egress_log import EgressLog, Head, content_digest
from forebay.routing.books.verification import of_chain, of_denied
from forebay.routing.errors import InvalidJob, Unavailable


@pytest.fixture
def log(redis):
    return EgressLog(redis)


@pytest.fixture
def ten(log):
    for number in range(10):
        log.append(leaving(f"c{number}", f"acme.{number}"))
    return log


def faults(log, heads=None):
    kept = log.heads() if heads is None else heads
    return {(fault.code, fault.about) for fault in of_chain(list(log.read()), kept, log.head())}


def test_each_entry_holds_the_hash_of_the_one_before(ten):
    entries = list(ten.read())
    assert [entry.seq for entry in entries] == list(range(1, 11))
    assert [entry.before for entry in entries] == [GENESIS, *(one.hash for one in entries[:-1])]
    assert all(digest(entry.text) == entry.hash for entry in entries)
    assert ten.head() == Head(10, entries[-1].hash)
    assert ten.heads() == {entries[-1].day: ten.head()}
    assert faults(ten) == set()


def test_an_entry_says_what_leaves_and_when_by_redis_clock(log, redis):
    before = redis.time()[0]
    entry = log.append(leaving("c", "acme.1", tokens=7))
    assert before <= entry.at_ms / 1_000 <= redis.time()[0] + 1
    (read,) = log.read()
    assert read == entry
    assert (read.leaving.tenant, read.leaving.tokens) == ("acme", 7)
    assert Entry.of_line(entry.line) == entry


def test_many_writers_make_one_chain(redis):
    def write(writer):
        own = EgressLog(redis)
        for number in range(10):
            own.append(leaving(f"{writer}.{number}"))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    log = EgressLog(redis)
    assert len({entry.leaving.call for entry in log.read()}) == log.head().seq == 160
    assert faults(log) == set()


def test_the_threads_of_a_process_write_one_after_the_other(log, redis):
    redis.config_resetstat()
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(log.append, (leaving(f"c{n}", "acme.1") for n in range(80))))
    assert faults(log) == set()
    runs = redis.info("commandstats")["cmdstat_evalsha"]
    assert runs["calls"] - runs["failed_calls"] <= 2 * 80 + 1


def test_an_entry_whose_reply_is_lost_is_written_once(log, redis, monkeypatch):
    evalsha = redis.evalsha

    def repeated(*args):
        evalsha(*args)
        return evalsha(*args)

    monkeypatch.setattr(redis, "evalsha", repeated)
    log.append(leaving("c", "acme.1"))
    assert len(list(log.read())) == 1


def stored(redis):
    return [(key, dict(values)) for key, values in redis.xrange("fb:egress:log")]


def rewrite(redis, entries):
    """Put these entries in place of those of the log, under the same ids."""
    redis.delete("fb:egress:log")
    for key, values in entries:
        redis.xadd("fb:egress:log", values, id=key)


def forged(values, **changes):
    """Return an entry with changes in it, hashed anew."""
    text = json.dumps(json.loads(values[b"entry"]) | changes, separators=(",", ":"), sort_keys=True)
    return {b"entry": text.encode(), b"hash": digest(text).encode()}


def test_a_changed_entry_shows(ten, redis):
    entries = stored(redis)
    entries[4][1][b"entry"] = entries[4][1][b"entry"].replace(b'"tokens":100', b'"tokens":1')
    rewrite(redis, entries)
    assert faults(ten) == {("entry_changed", "5")}


def test_a_changed_entry_that_was_hashed_anew_breaks_the_chain(ten, redis):
    entries = stored(redis)
    entries[4] = entries[4][0], forged(entries[4][1], model="mine")
    rewrite(redis, entries)
    assert faults(ten) == {("chain_broken", "6")}


def test_a_removed_entry_shows(ten, redis):
    redis.xdel("fb:egress:log", stored(redis)[4][0])
    assert faults(ten) == {("entries_missing", "6")}


def test_a_removed_end_shows(ten, redis):
    redis.xdel("fb:egress:log", stored(redis)[-1][0])
    assert faults(ten) == {("entries_missing", "10")}


def test_a_log_that_was_written_anew_as_a_whole_shows_by_a_head_that_was_kept(ten, redis):
    kept = {"kept": Head(7, list(ten.read())[6].hash)}
    for key in redis.scan_iter("fb:egress:*"):
        redis.delete(key)
    for number in range(10):
        ten.append(leaving(f"c{number}", "acme.other"))
    assert faults(ten) == set()
    assert faults(ten, kept) == {("head_differs", "7")}


def test_an_added_entry_that_was_not_allowed_shows(ten):
    ten.append(leaving("c", "acme.9", said="deny"))
    (fault,) = of_denied(list(ten.read()))
    assert (fault.code, fault.about) == ("not_allowed", "11")


def test_old_entries_are_removed_and_the_rest_is_still_a_chain(redis):
    log = EgressLog(redis, max_entries=100)
    for number in range(400):
        log.append(leaving(f"c{number}"))
    entries = list(log.read())
    assert 100 <= len(entries) < 300
    assert entries[0].seq > 1
    assert faults(log) == set()


def test_an_entry_is_written_while_memory_is_full(log, redis):
    redis.config_set("maxmemory", "1")
    try:
        log.append(leaving())
    finally:
        redis.config_set("maxmemory", "512mb")
    assert log.head().seq == 1


@pytest.mark.parametrize("key", ["log", "head", "days"])
def test_a_key_of_the_wrong_type_stops_an_append_before_it_writes(log, redis, key):
    redis.set(f"fb:egress:{key}", "x")
    with pytest.raises(Unavailable):
        log.append(leaving())
    assert [name.decode() for name in redis.scan_iter("fb:egress:*")] == [f"fb:egress:{key}"]


@pytest.mark.parametrize(
    "values", [{"entry": "{", "hash": ""}, {"x": "y"}, {"entry": "[]", "hash": ""}]
)
def test_an_entry_that_cannot_be_read_is_one_error(log, redis, values):
    redis.xadd("fb:egress:log", values)
    with pytest.raises(InvalidJob, match="cannot be read"):
        list(log.read())


def test_the_digest_of_a_content_needs_the_secret_and_tells_texts_apart():
    one = content_digest(b"secret", iter(["ab", "c"]))
    assert one == content_digest(b"secret", iter(["ab", "c"]))
    others = [(b"other", ["ab", "c"]), (b"secret", ["a", "bc"]), (b"secret", ["abc"])]
    assert all(one != content_digest(key, iter(texts)) for key, texts in others)

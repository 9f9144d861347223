"""The answer cache: answers cross no border, keys reveal no content, and it fails no job."""

import logging
import random
import re
import time

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from forebay.routing.base import shows_text
from forebay.routing.errors import InvalidJob, Unavailable
from forebay.routing.jobs import Answer, Classification, Generation, Job
from forebay.routing.store.answer_cache import MAX_VALUE_BYTES, AnswerCache
from forebay.routing.store.encryption import PLAIN

KEY = b"a secret of the tests"
CANARY = "canary-7c1f"


@pytest.fixture
def client(redis):
    """The real server of this run; `redis` is the library's name here."""
    return redis


@pytest.fixture
def cache(client):
    return AnswerCache(client, KEY, ttl_s=60)


def job(text=CANARY, **fields):
    request = {"kind": "classify", "text": text, "labels": ["water", "power"]}
    return Job(**{"request": request, "cache": True, **fields})


def keep(cache, one, egress, made):
    """Keep the answer of a job that is on the ledger."""
    cache._redis.hset(f"fb:job:{one.id}", "state", "done")
    return cache.put(one, egress, made)


def answer(one, **fields):
    content = Classification(label="water", probability=0.9)
    made = {
        "id": one.id,
        "kind": one.kind,
        "egress": one.egress,
        "status": "done",
        "lane": "local",
        "reasons": ("verdict_easy",),
        "model": "small",
        "revision": "r1",
        "tokens_in": 30,
        "tokens_out": 2,
        "cost_nusd": 40,
        "attempts": 2,
        "worked_s": 1.5,
        "content": content,
    }
    return Answer(**{**made, **fields})


def test_the_same_request_gets_the_same_answer(cache):
    first, second = job(), job(priority="bulk", metadata={"run": "2"})
    assert cache.get(first, "deny", "small", "r1") is None
    assert keep(cache, first, "deny", answer(first))
    again = cache.get(second, "deny", "small", "r1")
    assert again.content == answer(first).content
    assert (again.id, again.cached, again.reason) == (second.id, True, "cached")
    assert again.reasons == ("verdict_easy", "cached")
    assert (again.cost_nusd, again.tokens_in, again.tokens_out, again.attempts) == (0, 0, 0, 0)
    assert (again.lane, again.model, again.revision) == ("local", "small", "r1")
    assert Answer.model_validate_json(again.model_dump_json()) == again


@pytest.mark.parametrize(
    "other",
    [
        (job(tenant="other"), "deny", "small", "r1"),
        (job(), "allow", "small", "r1"),
        (job(), "deny", "large", "r1"),
        (job(), "deny", "small", "r2"),
        (job(), "deny", "small", None),
        (job(text=CANARY + " "), "deny", "small", "r1"),
    ],
)
def test_an_answer_does_not_cross_tenant_egress_model_revision_or_request(cache, other):
    keep(cache, job(), "deny", answer(job()))
    assert cache.get(*other) is None


def test_a_job_that_did_not_opt_in_neither_reads_nor_fills_the_cache(cache, client):
    assert not cache.put(job(cache=False), "deny", answer(job()))
    assert client.dbsize() == 0
    keep(cache, job(), "deny", answer(job()))
    assert cache.get(job(cache=False), "deny", "small", "r1") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"degraded": True},
        {"status": "failed"},
        {"error": "bad_answer"},
        {"cached": True},
        {"stand_in": True},
        {"model": None},
    ],
)
def test_only_a_good_answer_is_kept(cache, client, fields):
    assert not cache.put(job(), "deny", answer(job(), **fields))
    assert client.dbsize() == 0


@pytest.mark.parametrize(
    ("temperature", "seed", "kept"), [(0.0, None, True), (0.7, 3, True), (0.7, None, False)]
)
def test_an_answer_that_was_drawn_by_chance_is_not_kept(cache, temperature, seed, kept):
    messages = [{"role": "user", "content": "tell me a story"}]
    request = {"kind": "generate", "messages": messages, "temperature": temperature, "seed": seed}
    one = Job(request=request, cache=True)
    made = answer(one, content=Generation(text="once"))
    assert keep(cache, one, "deny", made) == kept
    assert (cache.get(one, "deny", "small", "r1") is not None) == kept


def test_the_answer_of_a_job_that_was_forgotten_is_not_kept(cache, client):
    assert not cache.put(job(), "deny", answer(job()))
    assert client.dbsize() == 0


def test_an_answer_expires_after_its_time_to_live(client):
    brief = AnswerCache(client, KEY, ttl_s=0.05)
    keep(brief, job(), "deny", answer(job()))
    [key] = client.keys("fb:cache:*")
    assert 0 < client.pttl(key) <= 50
    time.sleep(0.08)
    assert brief.get(job(), "deny", "small", "r1") is None


def test_an_answer_that_is_too_large_is_not_kept(cache, client):
    noise = (
        random.Random(7).randbytes(MAX_VALUE_BYTES).hex()
    )  # as text it packs to no less than half
    made = answer(job(), content=Classification(label=noise + noise[::-1], probability=1))
    assert not cache.put(job(), "deny", made)
    assert client.dbsize() == 0


def test_no_key_and_no_value_shows_content(cache, client):
    one = job(metadata={"who": CANARY})
    keep(cache, one, "deny", answer(one, content=Classification(label=CANARY, probability=1)))
    [key] = client.keys("fb:cache:*")
    assert {*client.keys("fb:c*")} == {key, f"fb:cached:{one.id}".encode()}
    assert key.startswith(b"fb:cache:default:")
    assert len(key) == len("fb:cache:default:") + 64
    assert CANARY.encode() not in key + client.get(key)


def test_without_the_secret_a_key_cannot_be_guessed(client):
    ours, theirs = AnswerCache(client, KEY, 60), AnswerCache(client, b"another one", 60)
    assert ours.key(job(), "deny", "small", "r1") != theirs.key(job(), "deny", "small", "r1")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        b"zz",
        PLAIN.close(b""),
        PLAIN.close(b"[]"),
        PLAIN.close(b'{"form": 0}'),
        PLAIN.close(b"\xff"),
    ],
)
def test_a_damaged_value_is_a_miss(cache, client, value):
    client.set(cache.key(job(), "deny", "small", "r1"), value)
    assert cache.get(job(), "deny", "small", "r1") is None


def test_a_value_of_another_type_is_a_miss(cache, client):
    client.lpush(cache.key(job(), "deny", "small", "r1"), "x")
    assert cache.get(job(), "deny", "small", "r1") is None


@pytest.mark.parametrize(
    ("other", "made_by"),
    [(job(tenant="other"), {}), (job(), {"model": "large"}), (job(), {"revision": "r2"})],
)
def test_a_value_copied_to_another_key_is_a_miss(cache, client, other, made_by):
    theirs = answer(other, **made_by)
    keep(cache, other, "deny", theirs)
    [source] = client.keys("fb:cache:*")
    client.copy(source, cache.key(job(), "deny", "small", "r1"))
    assert cache.get(job(), "deny", "small", "r1") is None


def test_forgetting_a_tenant_leaves_the_others(cache, client):
    for n in range(25):
        for tenant in ("acme", "acme-2"):
            one = job(text=f"text {n}", tenant=tenant)
            keep(cache, one, "deny", answer(one))
    assert cache.forget("acme") == 25
    assert len(client.keys("fb:cache:*")) == 25
    assert not client.keys("fb:cached:acme.*")
    assert cache.forget("acme") == 0


@pytest.mark.parametrize("glob", ["*", "a?me", "[a-z]cme", ""])
def test_forgetting_accepts_a_name_and_no_pattern(cache, client, glob):
    keep(cache, job(tenant="acme"), "deny", answer(job(tenant="acme")))
    with pytest.raises(InvalidJob):
        cache.forget(glob)
    assert len(client.keys("fb:cache:*")) == 1


def test_an_unreachable_redis_is_a_miss_and_is_logged_without_content(caplog):
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=1, retry=once) as nobody, caplog.at_level(logging.WARNING):
        cache = AnswerCache(nobody, KEY, 60)
        assert cache.get(job(), "deny", "small", "r1") is None
        assert not cache.put(job(), "deny", answer(job()))
        with pytest.raises(Unavailable):
            cache.forget("acme")
    assert len(caplog.records) == 2
    assert CANARY not in caplog.text


def test_a_redis_out_of_memory_keeps_no_answer_and_raises_no_error(cache, client):
    one = job()
    client.hset(f"fb:job:{one.id}", "state", "done")
    client.config_set("maxmemory", 1)
    try:
        assert not cache.put(one, "deny", answer(one))
        assert cache.get(job(), "deny", "small", "r1") is None
    finally:
        client.config_set("maxmemory", 0)


# --- keys, by machine ---------------------------------------------------------------------------

texts = st.text(min_size=1, max_size=8)
labels = st.lists(st.text("ab", min_size=1, max_size=3), min_size=2, max_size=3, unique=True)
schemas = st.dictionaries(st.sampled_from("ab"), st.just({"type": "string"})).map(
    lambda properties: {"type": "object", "properties": properties}
)
by_kind = {
    "classify": st.fixed_dictionaries({"text": texts, "labels": labels}),
    "extract": st.fixed_dictionaries({"text": texts, "schema": schemas}),
    "summarize": st.fixed_dictionaries({"text": texts, "max_words": st.integers(5, 8)}),
    "generate": st.fixed_dictionaries(
        {
            "messages": texts.filter(shows_text).map(
                lambda text: [{"role": "user", "content": text}]
            ),
            "max_tokens": st.integers(1, 3),
            "seed": st.none() | st.integers(0, 2),
        }
    ),
    "embed": st.fixed_dictionaries({"texts": st.lists(texts, min_size=1)}),
}
requests = st.sampled_from(sorted(by_kind)).flatmap(
    lambda kind: by_kind[kind].map(lambda fields: {"kind": kind, **fields})
)
placed = st.tuples(
    requests,
    st.sampled_from(["a", "a-b"]),
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["small", "large"]),
    st.sampled_from(["r1", "r2", None]),
)


def key_of(place):
    request, tenant, egress, model, revision = place
    one = Job(request=request, tenant=tenant, cache=True)
    return AnswerCache(redis.Redis(), KEY, 60).key(one, egress, model, revision)


def same(one, other):
    """Equal down to the order of a schema's fields, which the model sees, unlike a request's."""
    (a, *rest_a), (b, *rest_b) = one, other
    return repr(sorted(a.items())) == repr(sorted(b.items())) and rest_a == rest_b


@given(placed, placed)
def test_two_jobs_share_a_key_if_and_only_if_nothing_that_counts_differs(one, other):
    assert (key_of(one) == key_of(other)) == same(one, other)


@given(placed, st.data())
def test_changing_any_one_field_changes_the_key(place, data):
    request = place[0]
    name = data.draw(st.sampled_from(sorted(request.keys() - {"kind"})))
    twin = data.draw(by_kind[request["kind"]])
    changed = (request | {name: twin[name]}, *place[1:])
    assert (key_of(changed) == key_of(place)) == same(changed, place)


@given(st.text(min_size=4, max_size=40), placed)
def test_no_key_holds_content(text, place):
    request = {"kind": "summarize", "text": text}
    key = key_of((request, *place[1:]))
    prefix, _, digest = key.rpartition(":")
    assert prefix == f"fb:cache:{place[1]}"
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert re.fullmatch(r"[0-9a-f]+", text) or text not in digest

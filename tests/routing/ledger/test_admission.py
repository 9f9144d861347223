"""New jobs are refused before Redis is full, so that the jobs already there can end."""

from __future__ import annotations

import hashlib
import secrets

import pytest
import redis as redis_py
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Answer, Embed, Job, Summarize, Summary, parse_job
from forebay.routing.ledger.admission import answer_bytes, idempotency
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.receipts import Embedding
from forebay.routing.settings import Settings
from ledger_jobs import BELL, answer, failure, walk

MAX_JOBS = 4_000  # many more than fit


def big() -> Job:
    """A job whose content cannot be compressed."""
    return Job(tenant="acme", request=Summarize(text=secrets.token_hex(8_000)))


@pytest.fixture
def small(fleet):
    """A client of a Redis with little memory."""
    fleet.start_redis(maxmemory="16mb")
    with redis_py.Redis.from_url(fleet.url) as client:
        yield client


def share(client: redis_py.Redis) -> float:
    info = client.info("memory")
    return (info["used_memory"] - info["mem_not_counted_for_evict"]) / info["maxmemory"]


def planned(client: redis_py.Redis) -> float:
    """Return the share of the memory that is in use or promised to the answers to come."""
    return share(client) + int(client.get("fb:promised:acme")) / client.info("memory")["maxmemory"]


def fill(ledger: Ledger) -> tuple[int, Unavailable]:
    """Submit, with a sweep now and then as a sweeper does it, until a submit is refused."""
    for made in range(MAX_JOBS):
        if made % 20 == 0:
            ledger.sweep()
        (one,) = ledger.create([big()])
        if not isinstance(one, str):
            assert isinstance(one, Unavailable), one
            return made, one
    pytest.fail("nothing was refused")


def settle_one(ledger: Ledger) -> bool:
    claim = ledger.claim("route")
    if claim is None:
        return False
    base = {"id": claim.id, "kind": "summarize", "egress": "deny", "status": "done"}
    ledger.settle(claim, Answer(**base, lane="local", content=Summary(text="short")))
    return True


def test_submits_are_refused_before_memory_is_full_and_accepted_again_once_it_is_free(small):
    ledger = Ledger(small, Settings(tenant_share=1), BELL)
    taken, refusal = fill(ledger)
    assert 0.80 < planned(small) < 0.92
    assert "memory" in str(refusal)
    assert refusal.retry_after
    keys = set(small.keys())
    assert isinstance(ledger.create([big()])[0], Unavailable)
    assert set(small.keys()) == keys, "something of a refused job was stored"
    ledger.sweep()
    assert planned(small) > 0.80
    ended = 0
    while isinstance(ledger.create([job := big()])[0], Unavailable):
        assert settle_one(ledger), "all jobs are done, and still no job is accepted"
        ended += 1
        ledger.sweep()
    assert 0 < ended < taken
    assert share(small) < 0.81, "accepted again too close to the limit"
    assert ledger.status(job.id).state == "waiting"


def test_a_known_job_is_still_known_while_memory_is_short(small):
    ledger = Ledger(small, Settings(memory_limit=0.01), BELL)
    one = big().model_copy(update={"idempotency_key": "k"})
    ledger.create([one])
    assert ledger.sweep().full > 0
    again = one.model_copy(update={"id": big().id})
    assert ledger.create([one, again]) == [one.id, one.id]


def test_the_mark_expires_if_no_sweeper_is_left_to_remove_it(small):
    ledger = Ledger(small, Settings(memory_limit=0.01), BELL)
    ledger.sweep()
    assert 0 < small.pttl("fb:full") <= 10_000


def test_without_maxmemory_no_job_is_refused(fleet):
    fleet.start_redis(maxmemory="0")
    with redis_py.Redis.from_url(fleet.url) as client:
        ledger = Ledger(client, Settings(memory_limit=0.01), BELL)
        assert ledger.sweep().full == 0
        assert isinstance(ledger.create([big()])[0], str)


# --- repeats -------------------------------------------------------------------------------------

JSON_TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | JSON_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_TEXT, inner, max_size=4),
    max_leaves=8,
)


def reversed_keys(value):
    """Return the same JSON with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(one) for one in value] if isinstance(value, list) else value


def test_the_order_of_metadata_does_not_make_another_job(redis):
    ledger = Ledger(redis, Settings(), BELL)
    request = {"kind": "embed", "texts": ["x"]}
    orders = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    jobs = [
        parse_job({"idempotency_key": "k1", "metadata": metadata, "request": request})
        for metadata in orders
    ]
    assert ledger.create(jobs) == [jobs[0].id, jobs[0].id]


@given(JSON, st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), JSON_TEXT))
def test_the_order_of_keys_never_changes_the_digest(default, metadata):
    schema = {"type": "object", "properties": {"a": {"default": default}, "b": {}}}
    data = {
        "idempotency_key": "k",
        "metadata": metadata,
        "request": {"kind": "extract", "text": "x", "schema": schema},
    }
    first, second = parse_job(data), parse_job(reversed_keys(data))
    assert idempotency(first) == idempotency(second)
    data["request"]["schema"]["properties"]["b"]["type"] = "string"
    assert idempotency(first)[0] == idempotency(parse_job(data))[0]
    assert idempotency(first)[1] != idempotency(parse_job(data))[1]


TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
NAMES = st.lists(st.sampled_from("abcde"), max_size=4, unique=True)
NUMBERS = st.integers(-5, 5) | st.integers(-5, 5).map(float) | st.sampled_from([0.5, 1e22, -1.25])
SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(TYPES)
            | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
            "enum": st.lists(NUMBERS | JSON_TEXT | st.booleans(), min_size=1, max_size=4),
            "const": st.lists(NUMBERS, max_size=3),
            "minimum": NUMBERS,
            "maxLength": st.integers(0, 9),
            "required": NAMES,
            "dependentRequired": st.dictionaries(JSON_TEXT, NAMES, max_size=2),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "enum", "required"]), inner),
            "items": inner,
            **{name: st.lists(inner, min_size=1, max_size=3) for name in ("anyOf", "oneOf")},
        },
    ),
    max_leaves=6,
)
SETS = ("required", "enum", "anyOf", "oneOf", "type")


def respelled(node, draw, *, schema=True):
    """The same schema, or the same data in it, spelled in another way."""
    if isinstance(node, bool) or not isinstance(node, dict | list | int | float):
        return node
    if isinstance(node, int | float):
        return draw.choice([int, float])(node) if node == int(node) else node
    if isinstance(node, list):
        return [respelled(each, draw, schema=schema) for each in node]
    new = {}
    for name in draw.sample(list(node), len(node)):
        value = node[name]
        if schema and name == "properties":
            new[name] = {each: respelled(part, draw) for each, part in value.items()}
        elif schema and name == "dependentRequired":
            new[name] = {each: draw.sample(part, len(part)) for each, part in value.items()}
        elif schema and name in SETS:
            listed = value if isinstance(value, list) else [value]
            inner = respelled(listed, draw, schema=name in {"anyOf", "oneOf"})
            new[name] = draw.sample(inner, len(inner))
        else:
            new[name] = respelled(value, draw, schema=schema and name == "items")
    return new


def extract(schema, **others):
    """A job under a key whose schema has this one as a part."""
    whole = {"type": "object", "properties": {"part": schema}}
    request = {"kind": "extract", "text": "x", "schema": whole}
    return parse_job({"idempotency_key": "k", "request": request, **others})


@settings(max_examples=60)
@given(SCHEMAS, st.randoms(use_true_random=False))
def test_no_spelling_of_a_schema_makes_another_job(schema, draw):
    assert idempotency(extract(schema)) == idempotency(extract(respelled(schema, draw)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"enum": [1]}, {"enum": [True]}),
        ({"enum": [1]}, {"enum": ["1"]}),
        ({"enum": [1, 2]}, {"enum": [1]}),
        ({"const": [1, 2]}, {"const": [2, 1]}),
        ({"default": ["b", "a"]}, {"default": ["a", "b"]}),
        ({"enum": [["b", "a"]]}, {"enum": [["a", "b"]]}),
        ({"const": {"required": ["b", "a"]}}, {"const": {"required": ["a", "b"]}}),
        ({"minimum": 1}, {"minimum": 1.5}),
        ({"minimum": 2**53}, {"minimum": 2**53 + 1}),
        ({"required": ["a"]}, {"required": ["a", "b"]}),
        ({"type": "string"}, {"type": ["string", "null"]}),
        ({"prefixItems": [{}, {"type": "null"}]}, {"prefixItems": [{"type": "null"}, {}]}),
        ({"oneOf": [{}, {}]}, {"oneOf": [{}]}),
        ({"properties": {"required": {}}}, {"properties": {"enum": {}}}),
        (
            {"anyOf": [{}, {"type": "null"}], "not": {"$ref": "#/properties/part/anyOf/0"}},
            {"anyOf": [{"type": "null"}, {}], "not": {"$ref": "#/properties/part/anyOf/0"}},
        ),
    ],
    ids=str,
)
def test_another_schema_makes_another_job(first, second):
    assert idempotency(extract(first))[1] != idempotency(extract(second))[1]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"price": 1, "no": [2]}, {"no": [2.0], "price": 1.0}, True),
        ({"price": 1}, {"price": "1"}, False),
        ({"price": [1, 2]}, {"price": [2, 1]}, False),
        ('{"price": 1}', '{"price": 1.0}', False),  # a text is compared as it is
    ],
)
def test_a_state_is_compared_by_its_meaning(first, second, same):
    questions = [{"type": "predicate", "name": "late", "instructions": "Is it late?"}]
    jobs = [
        parse_job(
            {
                "idempotency_key": "k",
                "request": {"kind": "decide", "state": state, "questions": questions},
            }
        )
        for state in (first, second)
    ]
    assert (idempotency(jobs[0]) == idempotency(jobs[1])) is same


def test_with_a_secret_nobody_can_guess_the_name_of_a_key(redis):
    job = Job(tenant="acme", request=Summarize(text="x"), idempotency_key="order-17")
    Ledger(redis, Settings(cache_key="s" * 32), BELL).create([job])
    (name,) = redis.keys("fb:idempotency:*")
    guesses = {idempotency(job)[0], idempotency(job, b"another secret")[0]}
    assert name.decode() not in guesses
    assert hashlib.sha256(b"order-17").hexdigest()[:32] not in name.decode()
    assert redis.get(name).split()[1].decode() != idempotency(job)[1]
    again = Job(tenant="acme", request=Summarize(text="x"), idempotency_key="order-17")
    assert Ledger(redis, Settings(cache_key="s" * 32), BELL).create([again]) == [job.id]


def test_two_tenants_with_one_key_have_names_that_cannot_be_compared():
    names = [
        idempotency(Job(tenant=tenant, request=Summarize(text="x"), idempotency_key="k"))[0]
        for tenant in ("acme", "globex")
    ]
    hashes = [name.rpartition(":")[2] for name in names]
    assert hashes[0] != hashes[1]


def test_a_conflict_names_the_first_job(redis):
    ledger = Ledger(redis, Settings(), BELL)
    jobs = [
        Job(tenant="acme", request=Summarize(text=text), idempotency_key="k") for text in ("a", "b")
    ]
    first, conflict = ledger.create(jobs)
    assert (conflict.job_id, first in str(conflict)) == (first, True)


def embedding(texts: int) -> Job:
    return Job(tenant="acme", request=Embed(texts=[f"text {i}" for i in range(texts)]))


def test_a_job_whose_answer_would_fill_redis_is_refused(redis):
    ledger = Ledger(redis, Settings(), BELL)
    redis.set("fb:free", 2_500_000)
    made = ledger.create([embedding(256) for _ in range(10)])
    accepted = [reply for reply in made if isinstance(reply, str)]
    assert len(accepted) == 2
    assert all(isinstance(reply, Unavailable) and reply.retry_after for reply in made[2:])
    ledger.cancel(accepted[0])
    assert isinstance(ledger.create([embedding(256)])[0], str)
    for job_id in accepted[1:]:
        ledger.cancel(job_id)


@pytest.mark.parametrize("forged", ["99999999999999999", "-99999999", "x", "9223372036854775807"])
def test_forged_bytes_of_answers_to_come_are_counted_again(redis, forged):
    ledger = Ledger(redis, Settings(), BELL)
    ledger.create([embedding(2)])
    redis.set("fb:promised:acme", forged)
    ledger.create([embedding(1)])
    ledger.repair()
    assert int(redis.get("fb:promised:acme")) == 3 * 4096


def test_vectors_are_stored_as_32_bit_numbers(redis):
    ledger = Ledger(redis, Settings(), BELL)
    (job_id,) = ledger.create([embedding(2)])
    claim = ledger.claim("route")
    vectors = ((0.5, -0.1, 1e-7), (3.25, 1e30, 0.0))
    ledger.settle(claim, Answer(
        id=job_id, kind="embed", egress="deny", status="done", lane="local",
        content=Embedding(vectors=vectors),
    ))  # fmt: skip
    (read,) = ledger.results([job_id])
    for vector, original in zip(read.content.vectors, vectors, strict=True):
        assert vector == pytest.approx(original, rel=1e-6)
    assert isinstance(read, Answer)


def test_decisions_take_more_memory_the_more_options_they_have():
    def size(options):
        choices = [f"choice {number}" for number in range(options)]
        question = {"type": "choice", "name": "x", "instructions": "y", "choices": choices}
        request = {"kind": "decide", "state": "z", "questions": [question]}
        return answer_bytes(Job(request=request))

    assert size(255) > 3 * size(2)


# --- one tenant's share ---------------------------------------------------------------------------


def test_a_tenant_that_fills_its_share_leaves_room_for_others(small):
    ledger = Ledger(small, Settings(tenant_share=0.5), BELL)
    ledger.create([Job(tenant="globex", request=Summarize(text="x"))])
    assert settle_one(ledger)  # both tenants are known from here on
    ledger.load_scripts()
    memory = small.info("memory")
    usable = 0.85 * memory["maxmemory"] - memory["used_memory"]
    _, refusal = fill(ledger)
    assert "the share of one tenant (FOREBAY_TENANT_SHARE)" in str(refusal)
    assert refusal.retry_after
    held = int(small.get("fb:held:acme")) + int(small.get("fb:promised:acme"))
    assert held == pytest.approx(0.5 * usable, rel=0.15)
    assert share(small) < 0.7
    for _ in range(20):
        ledger.sweep()
        others = Job(tenant="globex", request=Summarize(text=secrets.token_hex(8_000)))
        assert ledger.create([others]) == [others.id]
    while isinstance(ledger.create([big()])[0], Unavailable):
        assert settle_one(ledger)
    assert ledger.sweep().full == 0


def test_a_tenant_alone_leaves_room_for_the_first_jobs_of_others(small):
    ledger = Ledger(small, Settings(tenant_share=0.1), BELL)
    _, refusal = fill(ledger)
    assert "share of one tenant" in str(refusal)
    assert planned(small) > 0.75
    others = [Job(tenant="globex", request=Summarize(text=f"text {i}")) for i in range(50)]
    assert ledger.create(others) == [one.id for one in others]


def test_with_a_share_of_one_a_tenant_may_use_all_the_memory(small):
    _, refusal = fill(Ledger(small, Settings(tenant_share=1), BELL))
    assert "share of one tenant" not in str(refusal)


@pytest.mark.parametrize("end", ["settle", "fail", "cancel", "forget", "degrade"])
def test_what_a_tenant_holds_follows_its_jobs(redis, end):
    ledger = Ledger(redis, Settings(), BELL)
    one = Job(tenant="acme", request=Summarize(text=secrets.token_hex(500)), egress="allow")
    ledger.create([one])
    record = 1024
    waiting = record + len(redis.get(f"fb:content:{one.id}"))
    assert int(redis.get("fb:held:acme")) == waiting
    end_by(end, ledger, one.id)
    left = [redis.strlen(f"fb:{name}:{one.id}") for name in ("content", "answer")]
    held = int(redis.get("fb:held:acme") or 0)
    assert held == (0 if end == "forget" else record + sum(left))
    walk(ledger)
    assert int(redis.get("fb:held:acme") or 0) == held


@pytest.mark.parametrize("forged", ["99999999", "-5", "x", None])
def test_a_forged_count_of_what_a_tenant_holds_is_put_right_by_the_walk(redis, forged):
    ledger = Ledger(redis, Settings(), BELL)
    ledger.create([big(), big()])
    held = redis.get("fb:held:acme")
    redis.set("fb:held:acme", forged) if forged else redis.delete("fb:held:acme")
    walk(ledger)
    assert redis.get("fb:held:acme") == held


def end_by(end: str, ledger: Ledger, job_id: str) -> None:
    if end in {"cancel", "forget"}:
        getattr(ledger, end)(job_id)
        return
    claim = ledger.claim("route")
    if end == "settle":
        ledger.settle(claim, answer(claim))
    elif end == "fail":
        ledger.settle(claim, failure(claim))
    else:
        ledger.escalate(claim, "r", answer(claim, "a weak one"))
        claim = ledger.claim("bedrock")
        ledger.settle(claim, failure(claim))  # its draft becomes the answer

"""Contents at rest: compressed, encrypted if there are keys, also while keys change."""

from __future__ import annotations

import base64
import sys
import zlib

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from forebay.producers.client import Client
from forebay.routing.errors import InvalidJob, Misconfigured, Unavailable
from forebay.routing.jobs import Answer, Job, Summarize, Summary, Verdict
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.answer_cache import AnswerCache
from forebay.routing.store.encryption import MAX_BYTES, PLAIN, Seal
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.outcomes import Answered
from forebay.workers.runtime.recording import record
from ledger_jobs import BELL

CANARY = "the canary sings at noon"
SURE = Verdict(probability=0.9, version="test")
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def keyed(*keys: str) -> Settings:
    return Settings(content_keys=",".join(keys) or None, retention_s=60)


def sealing(*keys: str) -> Seal:
    return Seal.of(keyed(*keys))


def job(**options) -> Job:
    return Job(tenant="acme", request=Summarize(text=CANARY), metadata={"note": CANARY}, **options)


def answer(claim: Claim, **options) -> Answer:
    return Answer(
        id=claim.id, kind="summarize", egress=claim.record.egress, status="done", lane="local",
        content=Summary(text=CANARY), **options,
    )  # fmt: skip


@given(st.binary(max_size=5_000), st.sampled_from([(), (NEW,), (NEW, OLD)]))
def test_a_sealed_content_opens_again(data, keys):
    assert sealing(*keys).open(sealing(*keys).close(data)) == data


@given(st.binary(max_size=200))
def test_bytes_that_were_never_sealed_are_one_clear_error(data):
    for seal in (PLAIN, sealing(NEW)):
        with pytest.raises((ValueError, Misconfigured)):
            seal.open(data)
        with pytest.raises((ValueError, Misconfigured)):
            seal.open(b"f" + data)


def test_a_content_that_unpacks_to_too_much_is_refused():
    bomb = b"z" + zlib.compress(bytes(MAX_BYTES + 1))
    with pytest.raises(ValueError, match="too large"):
        PLAIN.open(bomb)


def test_the_first_key_closes_and_all_keys_open():
    before = sealing(OLD).close(b"a text")
    both = sealing(NEW, OLD)
    assert both.open(before) == b"a text"
    assert sealing(NEW).open(both.close(b"a text")) == b"a text"
    assert both.open(PLAIN.close(b"from before there were keys")) == b"from before there were keys"


@pytest.mark.parametrize("keys", [(), (OLD,)], ids=["no key", "another key"])
def test_a_wrong_key_or_none_is_one_error_that_names_the_setting(keys):
    sealed = sealing(NEW).close(CANARY.encode())
    with pytest.raises(Misconfigured) as caught:
        sealing(*keys).open(sealed)
    assert caught.value.field == "FOREBAY_CONTENT_KEYS"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "keys",
    ["", "nonsense", NEW + ",", NEW[:-4], NEW + ";" + OLD],
    ids=["empty", "nonsense", "a comma too many", "cut short", "a semicolon"],
)
def test_an_invalid_key_is_refused_and_not_repeated_in_the_error(keys):
    with pytest.raises(Misconfigured) as caught:
        Seal.of(Settings(content_keys=keys))
    assert caught.value.field == "FOREBAY_CONTENT_KEYS"
    assert not keys or keys not in str(caught.value)


def test_keys_without_the_package_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(Misconfigured, match="encryption"):
        sealing(NEW)


def test_keys_are_in_no_repr():
    assert NEW not in repr(keyed(NEW)) + repr(sealing(NEW)) + str(keyed(NEW).model_dump())


def forms(value: bytes) -> list[bytes]:
    """A value of Redis as it is, and as somebody who looks for plaintext would unpack it."""
    found = [value]
    for start in (0, 1):
        for data in (value[start:], base64.urlsafe_b64encode(value[start:])):
            for bits in (15, -15, 31):
                try:
                    found.append(zlib.decompressobj(bits).decompress(data))
                except zlib.error:
                    continue
    return found


def everything(redis) -> dict[bytes, bytes]:
    return {
        key: redis.get(key) if redis.type(key) == b"string" else redis.dump(key)
        for key in redis.keys()
    }


def canaries(redis) -> set[bytes]:
    return {
        key.split(b":")[1]
        for key, value in everything(redis).items()
        for form in forms(value)
        if CANARY.encode() in form
    }


def filled(redis, settings: Settings) -> None:
    """One content of each kind in Redis: of a job, a draft, an answer, the cache."""
    ledger = Ledger(redis, settings, BELL)
    assert all(isinstance(made, str) for made in ledger.create([job(egress="allow")] * 2 + [job()]))
    claim = ledger.claim("route")
    ledger.route(claim, "local.default", "allow", "verdict_easy", SURE)
    claim = ledger.claim("local.default")
    ledger.escalate(claim, "no_answer", answer(claim))
    claim = ledger.claim("route")
    ledger.settle(claim, answer(claim))
    cache = AnswerCache(redis, b"0123456789abcdef", 60, ledger.seal)
    one = job(cache=True).model_copy(update={"id": claim.id})
    assert cache.put(one, "deny", answer(claim, model="m", revision="r"))


def test_without_keys_the_search_finds_every_content(redis):
    filled(redis, keyed())
    assert canaries(redis) == {b"content", b"draft", b"answer", b"cache"}


def test_with_keys_redis_holds_no_plaintext(redis):
    filled(redis, keyed(NEW))
    assert canaries(redis) == set()


def test_jobs_drafts_and_cached_answers_are_read_after_a_change_of_keys(redis):
    old, both = (Ledger(redis, keyed(*keys), BELL) for keys in ((OLD,), (NEW, OLD)))
    one = job(cache=True, egress="allow")
    old.create([one])
    claim = both.claim("route")
    assert claim.job() == one
    both.route(claim, "local.default", "allow", "verdict_easy", SURE)
    claim = old.claim("local.default")
    old.escalate(claim, "no_answer", answer(claim))
    assert both.claim("bedrock").drafted().content.text == CANARY
    was, now = (AnswerCache(redis, b"0123456789abcdef", 60, ledger.seal) for ledger in (old, both))
    was.put(one, "allow", answer(claim, model="m", revision="r"))
    assert now.get(one, "allow", "m", "r").content.text == CANARY
    assert AnswerCache(redis, b"0123456789abcdef", 60).get(one, "allow", "m", "r") is None


def test_a_worker_without_the_key_gives_the_job_back_and_another_worker_answers_it(redis, caplog):
    with_key, without = (Ledger(redis, settings, BELL) for settings in (keyed(NEW), keyed()))
    with_key.create([job()])

    def work(claim):
        claim.job()
        return Answered(answer(claim))

    def worked(ledger):
        claim = ledger.claim("route")
        return record(ledger, claim, attempt(work, claim))

    assert worked(without).outcome.code == "unavailable"
    assert "FOREBAY_CONTENT_KEYS" in caplog.text
    assert CANARY not in caplog.text
    redis.zadd("fb:later", {redis.zrange("fb:later", 0, 0)[0]: 0})
    with_key.sweep()
    assert worked(with_key).state == "done"


def test_a_job_that_no_worker_can_read_is_dead_with_its_content_kept(redis):
    Ledger(redis, keyed(NEW), BELL).create([one := job()])
    without = Ledger(redis, Settings(max_attempts=1), BELL)
    claim = without.claim("route")
    with pytest.raises(Unavailable):
        claim.job()
    assert without.retry(claim, "unavailable") == "failed"
    assert without.status(one.id).state == "failed"
    assert sealing(NEW).open(redis.get(f"fb:content:{one.id}"))


@pytest.mark.parametrize(
    ("keys", "stored", "error"),
    [
        ((OLD,), None, Misconfigured),
        ((NEW,), b"nonsense", InvalidJob),
        ((NEW,), b"f", Misconfigured),
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error_at_once_and_not_a_wait(
    redis, redis_url, keys, stored, error
):
    settings = keyed(*keys).model_copy(update={"redis_url": redis_url})
    ledger = Ledger(redis, keyed(NEW), BELL)
    with Client(tenant="acme", settings=settings) as client:
        ledger.create([one := job()])
        claim = ledger.claim("route")
        ledger.settle(claim, answer(claim))
        if stored is not None:
            redis.set(f"fb:answer:{one.id}", stored)
        with pytest.raises(error) as caught:
            client.result(one.id, timeout=5)
    assert CANARY not in str(caught.value)


def test_a_record_that_was_lowered_to_deny_lowers_the_job(redis):
    ledger = Ledger(redis, keyed(), BELL)
    ledger.create([job(egress="allow")])
    claim = ledger.claim("route")
    assert claim.job().egress == "allow"
    ledger.route(claim, "local.default", "deny", "tenant_forced_deny", SURE)
    assert ledger.claim("local.default").job().egress == "deny"

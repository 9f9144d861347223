"""The stream of an answer's text: what a worker writes, sealed, and what a reader gets of it."""

from __future__ import annotations

import threading

import pytest
import redis as redis_py
from cryptography.fernet import Fernet

from forebay.routing.jobs import Generate, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.receipts import TokenLogprob
from forebay.routing.settings import Settings
from forebay.routing.store.encryption import Seal
from forebay.routing.store.text_stream import TextWriter, read_piece, stream_key
from ledger_jobs import BELL
from patience import until

SEAL = Seal.of(Settings(content_keys=Fernet.generate_key().decode()))
JOB = f"acme.{'0' * 32}"


@pytest.fixture
def writer(redis):
    made = TextWriter(redis, SEAL)
    yield made
    made.close()


def pieces(redis, job_id=JOB, seal=SEAL):
    return [read_piece(fields, seal) for _, fields in redis.xrange(stream_key(job_id))]


def test_pieces_arrive_in_order_sealed_and_for_a_while(writer, redis):
    take = writer.open(JOB)
    for number in range(100):
        take(f"piece {number} ")
    writer.close()
    read = pieces(redis)
    assert "".join(piece.text for piece in read) == "".join(f"piece {n} " for n in range(100))
    assert len({piece.attempt for piece in read}) == 1
    assert not [
        fields for _, fields in redis.xrange(stream_key(JOB)) if b"piece" in fields[b"text"]
    ]
    assert 0 < redis.pttl(stream_key(JOB)) <= 120_000


def test_half_a_character_keeps_no_other_text_from_its_reader(writer, redis):
    take = writer.open(JOB)
    take("\ud83d")  # as a server may cut an emoji
    until(lambda: redis.exists(stream_key(JOB)))
    take("and so on")
    writer.close()
    assert [piece.text for piece in pieces(redis)] == ["?", "and so on"]


def test_tokens_travel_sealed_with_their_text(writer, redis):
    take = writer.open(JOB)
    tokens = [
        TokenLogprob(token=word, logprob=-0.5, top=((word, -0.5),)) for word in ("zebra", "!")
    ]
    take("zebra", tokens[:1])
    take("", tokens[1:])
    writer.close()
    read = pieces(redis)
    assert [token for piece in read for token in piece.tokens] == tokens
    assert not [
        fields for _, fields in redis.xrange(stream_key(JOB)) if b"zebra" in fields[b"tokens"]
    ]


def test_every_generation_is_an_attempt_of_its_own(writer, redis):
    for text in ("one", "two"):
        writer.open(JOB)(text)
    writer.close()
    assert len({piece.attempt for piece in pieces(redis)}) == 2


def test_jobs_do_not_mix(writer, redis):
    other = f"acme.{'1' * 32}"
    takes = {job: writer.open(job) for job in (JOB, other)}
    threads = [
        threading.Thread(target=lambda job=job, take=take: [take(job) for _ in range(50)])
        for job, take in takes.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    for job in takes:
        assert "".join(piece.text for piece in pieces(redis, job)) == job * 50


def test_nothing_breaks_and_nobody_waits_without_redis():
    client = redis_py.Redis(port=1)
    lost = TextWriter(client, SEAL)
    lost.open(JOB)("text")
    lost.close()


@pytest.mark.parametrize("fields", [{}, {b"attempt": b"a"}, {b"attempt": b"a", b"text": b"x"}])
def test_an_entry_that_no_worker_wrote_is_no_piece(fields):
    assert read_piece(fields, SEAL) is None


@pytest.mark.parametrize("tokens", [b"", b"[", b"[1]", b'[{"token": 5}]', b'"x"', b"[" * 10_000])
def test_a_text_whose_tokens_no_worker_wrote_is_no_piece(tokens):
    fields = {b"attempt": b"a", b"text": SEAL.close(b"text"), b"tokens": SEAL.close(tokens)}
    assert read_piece(fields, SEAL) is None


def test_forgetting_a_job_forgets_its_stream(writer, redis):
    ledger = Ledger(redis, Settings(), BELL)
    request = Generate(messages=[{"role": "user", "content": "Hello."}])
    job = Job(tenant="acme", request=request, stream=True)
    ledger.create([job])
    writer.open(job.id)("text")
    writer.close()
    assert redis.exists(stream_key(job.id))
    ledger.forget(job.id)
    assert not redis.exists(stream_key(job.id))


def test_a_stream_makes_no_other_job_of_an_idempotency_key(redis):
    ledger = Ledger(redis, Settings(), BELL)
    request = Generate(messages=[{"role": "user", "content": "Hello."}])
    first, second = (
        Job(tenant="acme", request=request, idempotency_key="k", stream=stream)
        for stream in (False, True)
    )
    assert ledger.create([first]) == ledger.create([second]) == [first.id]

"""One thread reads the texts of many jobs, for any number of listeners."""

from __future__ import annotations

import asyncio
import threading

import pytest

from forebay.producers.gateway.text_reader import JOINED_CHARS, Pieces, TextReader
from forebay.routing.receipts import TokenLogprob
from forebay.routing.store.encryption import PLAIN
from forebay.routing.store.text_stream import Piece, TextWriter, stream_key

JOBS = [f"acme.{number:032x}" for number in range(50)]


@pytest.fixture
def reader(redis):
    made = TextReader(redis, PLAIN)
    yield made
    made.close()


@pytest.fixture
def writer(redis):
    made = TextWriter(redis, PLAIN)
    yield made
    made.close()


async def heard(pieces, text):
    """Return what arrives until it is as long as the text."""
    got = ""
    while len(got) < len(text):
        got += (await asyncio.wait_for(pieces.get(), 10)).text
    return got


def test_fifty_texts_are_read_by_one_thread(reader, writer):
    async def listen(job):
        with reader.reading(job) as pieces:
            take = writer.open(job)
            for word in ("one ", "two ", "three"):
                take(word)
                await asyncio.sleep(0.01)
            return await heard(pieces, "one two three")

    async def main():
        before = threading.active_count()
        listening = asyncio.gather(*map(listen, JOBS))
        await asyncio.sleep(0.02)
        assert threading.active_count() - before <= 2  # the reader's and the writer's
        return await listening

    assert asyncio.run(main()) == ["one two three"] * len(JOBS)


def test_every_listener_hears_a_text_from_its_beginning(reader, writer):
    async def main():
        take = writer.open(JOBS[0])
        with reader.reading(JOBS[0]) as early:
            take("one ")
            assert await heard(early, "one ") == "one "
            with reader.reading(JOBS[0]) as late:
                take("two")
                assert await heard(late, "one two") == "one two"
            assert await heard(early, "two") == "two"
            take("!")
            assert await heard(early, "!") == "!"

    asyncio.run(main())


def test_a_listener_that_does_not_read_holds_the_text_and_little_else(reader, writer):
    words = [f"{number} " for number in range(5_000)]

    async def main():
        take = writer.open(JOBS[2])
        with reader.reading(JOBS[2]) as slow, reader.reading(JOBS[2]) as quick:
            for word in words:
                take(word)
            await heard(quick, "".join(words))
            assert slow.qsize() <= len("".join(words)) // JOINED_CHARS + 1
            assert await heard(slow, "".join(words)) == "".join(words)
            with reader.reading(JOBS[2]) as late:
                assert await heard(late, "".join(words)) == "".join(words)

    asyncio.run(main())


def test_pieces_of_other_attempts_and_their_tokens_stay_apart():
    async def main():
        pieces, token = Pieces(), TokenLogprob(token="a", logprob=-1.0)
        for piece in (Piece("1", "a", (token,)), Piece("1", "b"), Piece("2", "c")):
            pieces.put_nowait(piece)
        assert await pieces.get() == Piece("1", "ab", (token,))
        assert await pieces.get() == Piece("2", "c")

    asyncio.run(main())


def test_a_listener_that_comes_back_hears_it_all_again(reader, writer):
    async def main():
        take = writer.open(JOBS[1])
        for number in range(1, 15):
            take(f"{number} ")
            with reader.reading(JOBS[1]) as pieces:
                wanted = "".join(f"{n} " for n in range(1, number + 1))
                assert await heard(pieces, wanted) == wanted

    asyncio.run(main())


FORGED = {
    "sealed": {"text": b"f sealed with a key"},
    "tokens": {"text": PLAIN.close(b"text"), "tokens": PLAIN.close(b"[1]")},
}


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED)
def test_a_piece_that_nobody_can_read_stops_no_other_text(reader, writer, redis, fields):
    mine, theirs = JOBS[:2]

    async def main():
        with reader.reading(mine) as pieces, reader.reading(theirs):
            redis.xadd(stream_key(theirs), {"attempt": "a", **fields})
            await asyncio.sleep(0.05)
            writer.open(mine)("hello")
            return await heard(pieces, "hello")

    assert asyncio.run(main()) == "hello"

"""A tenant with its own user of Redis does everything that the rights of that user allow.

Its rate is bounded, because every client of a Redis can keep it busy, and its memory, which it can
fill (SECURITY.md). Whatever Redis refuses is refused; the rest must harm nobody else.
"""

from __future__ import annotations

import itertools
import json
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from redis.exceptions import RedisError

from books.content import DENY
from forebay.producers.client import Client
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Generate, Job, Message, new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.store.connection import connect
from forebay.routing.store.scripts import digest, names
from storms.storm import ATTACKER, Context, Storm

ACTIONS_A_SECOND = 200
#: A content of 64 MB that is small while it is packed.
BOMB = b"z" + zlib.compress(bytes(64 << 20), 1)
SEEN_BYTES = 20_000  # of the diary, from which it knows ids of others

#: What may stand in place of a name, a number or an argument.
WORDS: tuple[str | bytes, ...] = (
    "fb:leases", "fb:deadlines", "fb:depth", "fb:clock", "fb:full", "fb:cache-secret", "route",
    "bedrock", "local.default", "embed", "local.x", "unacked", "_kombu.binding.route",
    "fb:turn:route:interactive", "fb:waiting:route:interactive:alpha", "fb:wake:alpha:1",
    "fb:wake:vandal", "fb:answer:alpha.1", "fb:idempotency:alpha:1", "alpha.1", "../alpha", "*",
    "", "nan", "inf", "-inf", "-1", "0", "1", "1e308", "9007199254740993", "9223372036854775807",
    "waiting", "running", "done", "failed", "allow", "deny", "bulk", "interactive", "x" * 5_000,
    b"\xff\xfe", b"\x00", "vandal.1\n", "[" * 5_000, '{"id": "@RING@"}', "\u202e", "\U0001f600",
)  # fmt: skip
FIELDS = (
    "state", "queue", "hop", "priority", "token", "egress", "reasons", "idempotency", "error",
    "kind", "replayed_as", "replay_of", "audit_of", "audited_as", "attempts", "created_us",
    "created", "queued", "started", "ended", "queued_ms", "worked_ms", "fence", "deadline",
    "cost_nusd", "answer_bytes", "receipt", "verdict", "doubt", "promoted", "payer", "x",
)  # fmt: skip
FAMILIES = ("job", "content", "answer", "draft", "cached", "watchers")


class Vandal:
    """Draws one action after the other. Each is a method whose name says what it does."""

    def __init__(self, context: Context, client: Client) -> None:
        self._context = context
        self._dice = context.dice
        self._client = client
        self._redis = connect(context.settings, "look")
        self._ledger = Ledger(self._redis, context.settings, packaged_template)
        self._mine: list[str] = [new_id(ATTACKER)]
        self._others = Path(context.told.path)
        self._numbers = itertools.count()
        self._actions: list[Callable[[], object]] = [
            self.count_wrong, self.promise_wrong, self.name_newcomers, self.ring, self.stamp,
            self.expire_others, self.delay_others, self.forge_a_record, self.forge_a_waiting_job,
            self.call_a_script, self.write_another_type, self.watch_for_others, self.spoil_a_job,
            self.spoil_a_content, self.reach_for_others, self.forge_a_repeat, self.submit,
        ]  # fmt: skip

    def run(self) -> None:
        """Do one action after the other, at a bounded rate."""
        done: Counter[str] = Counter()
        while not self._context.over:
            action, began = self._dice.choice(self._actions), time.monotonic()
            try:
                action()
                done[f"{action.__name__} done"] += 1
            except (RedisError, ForebayError) as refusal:
                done[f"{action.__name__} {type(refusal).__name__}"] += 1
            time.sleep(max(0.0, 1 / ACTIONS_A_SECOND - (time.monotonic() - began)))
        print(json.dumps(done), flush=True)

    def _word(self) -> str | bytes:
        return self._dice.choice((*WORDS, self._dice.choice(self._mine)))

    def _id(self) -> str:
        """Return the id of a job of its own, known or new."""
        return self._dice.choice((self._dice.choice(self._mine), new_id(ATTACKER)))

    # --- what all tenants share -------------------------------------------------------------------

    def count_wrong(self) -> None:
        """Falsify the number of waiting jobs."""
        queue = self._dice.choice(("route", "local.default", "embed", "bedrock", "x"))
        self._redis.hincrby("fb:depth", queue, self._dice.choice((10**9, -(10**9), 2**60, 7)))

    def promise_wrong(self) -> None:
        """Falsify the bytes of the answers to come, and of those that it holds."""
        name = self._dice.choice(("promised", f"promised:{ATTACKER}", f"held:{ATTACKER}"))
        self._redis.incrby(f"fb:{name}", self._dice.choice((10**12, -(10**12), 2**61)))

    def name_newcomers(self) -> None:
        """Name tenants that have no waiting jobs, and some that cannot be."""
        key = f"fb:newcomers:route:{self._dice.choice(('interactive', 'bulk', 'x'))}"
        self._redis.sadd(key, *(f"nobody{self._dice.randrange(10**6)}" for _ in range(50)))
        self._redis.sadd(key, self._word())

    def ring(self) -> None:
        """Push doorbells that nobody needs, and messages that are none."""
        bell = self._ledger.bell.replace("@QUEUE@", "route").replace("@TASK@", "route")
        forged = bell.replace("@RING@", f"route.{self._dice.randrange(10**9)}")
        self._redis.lpush("route", *self._dice.choice(([forged] * 20, [self._word(), forged])))
        self._redis.execute_command("INCR", "fb:rings")

    def stamp(self) -> None:
        """Say since when jobs wait, in places that do not exist."""
        self._redis.hsetnx("fb:since", f"x{self._dice.randrange(10**6)}:bulk", "0")
        self._redis.hsetnx("fb:since", "route:bulk", "0")

    def expire_others(self) -> None:
        """Let jobs of others expire now, and jobs that do not exist."""
        ids = {new_id("alpha"): 1.0 for _ in range(50)}
        for key in ("fb:deadlines", f"fb:deadlines:{ATTACKER}"):
            self._redis.zadd(key, {**ids, self._others_job(): 1.0, self._word(): 1.0})

    def delay_others(self) -> None:
        """Remove what leads to a job of another tenant, whose id it got to know."""
        for key in ("fb:leases", "fb:later", "fb:deadlines"):
            self._redis.zrem(key, self._others_job())

    def _others_job(self) -> str:
        with self._others.open("rb") as diary:
            diary.seek(max(0, self._others.stat().st_size - SEEN_BYTES))
            lines = diary.read().decode().splitlines()[1:]
        return self._dice.choice([line.split()[3] for line in lines] or ["alpha.1"])

    # --- its own jobs -----------------------------------------------------------------------------

    def submit(self) -> None:
        """Submit a job as everybody does, whose content must stay in the building."""
        mark = f"{DENY}{next(self._numbers):012x}"
        text = f"[[echo: delay=0.05]] {mark} one two three four"
        options = {"priority": self._dice.choice(("interactive", "bulk")), "cache": True}
        self._mine.append(self._client.submit(_chat(text), **options))

    def forge_a_record(self) -> None:
        """Write a record out of nothing, with values that no script writes."""
        fields = {name: self._word() for name in self._dice.sample(FIELDS, 12)}
        self._redis.hset(f"fb:job:{self._id()}", mapping=fields)

    def forge_a_waiting_job(self) -> None:
        """Write a job past the script: its record says `allow`, its content `deny`."""
        mark = f"{DENY}{next(self._numbers):012x}"
        job = Job(tenant=ATTACKER, request=_chat(f"{mark} my key is AKIAABCDEFGHIJKLMNOP"))
        content, given = self._ledger.packed(job)
        record = dict(zip(given[::2], given[1::2], strict=True)) | {
            "state": "waiting", "egress": "allow", "token": "", "attempts": "0", "fence": "0",
            "created": "1", "created_us": "1000", "queued": "1", "reasons": "", "hop": "bedrock",
            "queue": self._dice.choice(("bedrock", "route", "local.default", "x")),
        }  # fmt: skip
        self._redis.hset(f"fb:job:{job.id}", mapping=record)  # type: ignore[arg-type]
        self._redis.set(f"fb:content:{job.id}", content)
        member, score = (
            self._dice.choice((job.id, self._word())),
            self._dice.choice((0, -1e300, 1e300)),
        )
        self._redis.zadd(f"fb:waiting:route:interactive:{ATTACKER}", {job.id: 0, member: score})
        self._redis.sadd("fb:newcomers:route:interactive", ATTACKER)
        self._mine.append(job.id)

    def spoil_a_job(self) -> None:
        """Change fields of a job that may be at work, or remove parts of it."""
        job_id = self._id()
        self._redis.hset(f"fb:job:{job_id}", self._dice.choice(FIELDS), self._word())
        self._redis.zrem("fb:leases", job_id)
        self._redis.zrem(f"fb:waiting:local.default:interactive:{ATTACKER}", job_id)
        if self._dice.random() < 0.3:
            self._redis.delete(f"fb:{self._dice.choice(FAMILIES)}:{job_id}")

    def spoil_a_content(self) -> None:
        """Replace a content by one that is damaged, or grows when it is unpacked."""
        forged = self._dice.choice((b"", b"z", b"z\x00", BOMB, b"j[" * 9_000, b"x" * 10_000))
        family = self._dice.choice(("content", "draft", "answer"))
        self._redis.set(f"fb:{family}:{self._id()}", forged)

    def write_another_type(self) -> None:
        """Put a value of another type where scripts expect theirs."""
        key = self._dice.choice(
            [f"fb:{family}:{self._id()}" for family in FAMILIES]
            + [f"fb:dead:{ATTACKER}", f"fb:wake:{ATTACKER}:1", f"fb:idempotency:{ATTACKER}:1"]
        )
        self._redis.delete(key)
        self._dice.choice((
            lambda: self._redis.set(key, "x"),
            lambda: self._redis.hset(key, "x", "x"),
            lambda: self._redis.sadd(key, "x"),
            lambda: self._redis.zadd(key, {"x": 1}),
            lambda: self._redis.xadd(key, {"x": "x"}),
        ))()  # fmt: skip

    def watch_for_others(self) -> None:
        """Let the end of its own jobs be written to keys of others."""
        self._redis.sadd(f"fb:watchers:{self._id()}", *(self._word() for _ in range(20)))

    def forge_a_repeat(self) -> None:
        """Let an idempotency key lead to a job of another tenant."""
        value = f"{self._others_job()} {'0' * 64}"
        self._redis.set(f"fb:idempotency:{ATTACKER}:{self._dice.randrange(10)}", value)
        self._redis.hset(f"fb:job:{self._id()}", "idempotency", f"fb:idempotency:{ATTACKER}:1")

    def call_a_script(self) -> None:
        """Call any script of the fleet, also those of workers, with arguments that are wrong."""
        name = self._dice.choice(names())
        words = [self._word() for _ in range(self._dice.randrange(1, 14))]
        if self._dice.random() < 0.7:
            words[0] = self._dice.choice((self._id(), self._others_job()))
        self._redis.evalsha(digest(name), 0, *words)

    def reach_for_others(self) -> None:
        """Ask for what belongs to others, by the methods of the client's own ledger."""
        other = self._others_job()
        self._dice.choice((
            lambda: self._ledger.cancel(other),
            lambda: self._ledger.forget(other),
            lambda: self._ledger.watch(other, f"fb:wake:{ATTACKER}:1"),
            lambda: self._ledger.record(other),
            lambda: self._redis.get(f"fb:content:{other}"),
            lambda: self._redis.hset(f"fb:job:{other}", "egress", "allow"),
            lambda: self._redis.delete(f"fb:job:{other}"),
        ))()  # fmt: skip


def _chat(text: str) -> Generate:
    return Generate(messages=[Message(role="user", content=text)])


def attack(context: Context) -> None:
    """Act as the vandal until the storm is over."""
    with Client(tenant=ATTACKER, settings=context.settings) as client:
        Vandal(context, client).run()


STORM = Storm("tenant", "a hostile tenant with a user of Redis", attack, guarded=True)

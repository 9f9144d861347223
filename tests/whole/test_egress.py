"""No sequence of events sends content of a `deny` job out of the building.

The whole waterfall, in this thread and in any order: the real ledger, policy, router, local worker
(on the echo engine) and bedrock worker (boto3), against the stand-in as the peer that records all
it sees. Jobs fail, escalate, are retried, cancelled, forgotten, lost by their worker and found
again; the policy changes meanwhile, and somebody else writes into Redis. Each job has a text of its
own; after every step it is known which of them the peer must not have seen.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forebay.routing.errors import CallerError, Lost, UnknownJob
from forebay.routing.jobs import (
    Answer,
    Classify,
    Embed,
    Extract,
    Generate,
    Generation,
    Job,
    Label,
    Message,
    Summarize,
)
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.dead_letters import DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.limits import spillway
from forebay.routing.policy.policy_file import DEFAULT_MODEL
from forebay.routing.settings import Settings
from forebay.routing.store.answer_cache import AnswerCache, secret
from forebay.workers.bedrock import Bedrock
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.local import Local
from forebay.workers.router import Router
from forebay.workers.runtime.execute import attempt, record
from mock_bedrock.server import MockBedrock

BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'
TENANTS = ("acme", "globex")
QUEUES = ("route", "local.default", "embed", "bedrock")
WRONG = {  # makes the echo engine's answer one that escalates
    "classify": "[[echo: confidence=0.2]]",
    "extract": "[[echo: say={no json]]",
    "summarize": "[[echo: say=the total is 99,123]]",
    "generate": "[[echo: say=]]",
    "embed": "",
}
FAULTS = (None, "throttle", "internal", "half", "drop", "denied", "refuse")
LONG = os.environ.get("FOREBAY_LONG_TESTS") == "1"


def request(kind: str, text: str):
    """A request of this kind with the text in everything that is content."""
    schema = {"type": "object", "properties": {text: {"type": "string", "description": text}}}
    match kind:
        case "classify":
            labels = [Label(name=f"{text} {i}", description=text) for i in range(2)]
            return Classify(text=text, labels=labels)
        case "extract":
            return Extract(text=text, schema=schema)
        case "summarize":
            return Summarize(text=text, focus=text)
        case "generate":
            return Generate(messages=[Message(role="user", content=text)])
    return Embed(texts=[text])


@dataclass
class Put:
    """A job that was submitted, and the word that only its content has."""

    job: Job
    canary: str


class World:
    """What all examples share, because it takes long to make."""

    def __init__(self, redis, folder) -> None:
        self.redis = redis
        self.policy = folder / "policy.toml"
        self.written = 0
        self.sent = self.replayed = self.audited = 0
        self.write_policy(set(), models=True)
        settings = Settings(lease_s=1000, policy_file=self.policy)
        self.ledger = Ledger(redis, settings, BELL)
        self.cache = AnswerCache(redis, secret(redis, settings), 60)
        self.standin = MockBedrock(key_pair=("test", "test"))
        bedrock = BedrockSettings(bedrock_endpoint=self.standin.url, bedrock_timeout_s=10)
        echo = EngineSettings(engine="echo", context_tokens=4096)
        self.local = Local(self.ledger, lambda: Answerer(make_engine(echo)))
        self.workers = {
            "route": Router(self.ledger),
            "local.default": self.local,
            "embed": self.local,
            "bedrock": Bedrock(self.ledger, bedrock),
        }

    def write_policy(self, forced: set[str], *, models: bool) -> None:
        named = f'["{DEFAULT_MODEL}"]' if models else "[]"
        tables = [f"[tenants.{name}]\nforce_deny = true\n" for name in sorted(forced)]
        audits = "[defaults.audit]\nshare = 1.0\nusd_per_day = inf\n"
        self.policy.write_text(f"[defaults]\nmodels = {named}\n{audits}" + "".join(tables))
        self.written += 1  # two versions within one tick of the clock are two versions
        os.utime(self.policy, ns=(0, self.written * 1_000_000_000))

    def new_texts(self) -> list[str]:
        """What has left the building since this was last asked."""
        texts = [call.text for call in self.standin.calls]
        self.standin.calls.clear()
        self.sent += len(texts)
        return texts


class Waterfall(RuleBasedStateMachine):
    """Everything that can happen to a job, by anybody."""

    world: World

    @initialize()
    def begin(self):
        self.world.redis.flushdb()
        self.world.standin.calls.clear()
        self.world.standin.faults.plan([])
        self.redis, self.ledger = self.world.redis, self.world.ledger
        self.put: dict[str, Put] = {}
        self.held: list[tuple[str, Claim]] = []
        self.ended: dict[str, str] = {}
        self.ledger.serve("a bedrock worker", ["bedrock"], for_s=1_000_000)
        self.policy(forced=(), models=True)
        for tenant in TENANTS:
            self.submit(tenant, "allow", "generate", "bedrock", wrong=False, cache=True)
            self.submit(tenant, "allow", "summarize", "auto", wrong=True, cache=False)
            self.submit(tenant, "deny", "summarize", "auto", wrong=True, cache=True)
            for kind in ("classify", "summarize"):  # kept, and then audited
                self.submit(tenant, "allow", kind, "auto", wrong=False, cache=False)
        self.die_of_it(["route"])

    # --- producers and operators ------------------------------------------------------------------

    @rule(
        tenant=st.sampled_from(TENANTS),
        egress=st.sampled_from(("allow", "deny", "allow")),
        kind=st.sampled_from(tuple(WRONG)),
        pin=st.sampled_from(("auto", "bedrock", "local")),
        wrong=st.booleans(),
        cache=st.booleans(),
    )
    def submit(self, tenant, egress, kind, pin, wrong, cache):
        canary = f"canary{len(self.put):05d}x"
        if kind == "embed" or egress == "deny":
            pin = "local" if pin == "local" else "auto"
        job = Job(
            tenant=tenant,
            egress=egress,
            lane=pin,
            cache=cache,
            request=request(kind, f"{WRONG[kind] if wrong else ''} {canary}"),
            metadata={canary: canary},
        )
        assert self.ledger.create([job]) == [job.id]
        self.put[job.id] = Put(job, canary)

    @rule(
        forced=st.sampled_from(((), (), TENANTS[:1], TENANTS)),
        models=st.sampled_from((True, True, False)),
    )
    def policy(self, forced, models):
        self.forced = set(forced)
        self.world.write_policy(self.forced, models=models)

    @precondition(lambda self: self.put)
    @rule(data=st.data())
    def cancel(self, data):
        with contextlib.suppress(UnknownJob):  # it was forgotten
            self.ledger.cancel(self.some(data))

    @precondition(lambda self: self.put)
    @rule(data=st.data())
    def forget(self, data):
        job_id = self.some(data)
        self.ledger.forget(job_id)
        self.ended.pop(job_id, None)

    @precondition(lambda self: self.failed())
    @rule(data=st.data(), changes=st.sampled_from(({}, {"egress": "allow"}, {"egress": "deny"})))
    def replay(self, data, changes):
        """A dead job once more: never looser than it was, whatever is asked for."""
        dead = data.draw(st.sampled_from(self.failed()))
        put = self.put[dead]
        with contextlib.suppress(CallerError):  # it may not leave, or somebody has spoilt it
            job_id = DeadLetters(self.ledger, put.job.tenant).replay(dead, **changes)
            tightest = "deny" if "deny" in {put.job.egress, changes.get("egress")} else "allow"
            again = put.job.model_copy(update={"id": job_id, "egress": tightest})
            self.put.setdefault(job_id, Put(again, put.canary))
            self.world.replayed += 1

    @rule(queues=st.lists(st.sampled_from(QUEUES), max_size=2))
    def die_of_it(self, queues):
        """A worker is thought dead with a job that was tried too often; it wakes up later."""
        claims = ((queue, self.ledger.claim(queue)) for queue in queues)
        if held := next(((queue, claim) for queue, claim in claims if claim), None):
            self.held.append(held)
            claim = held[1]
            self.forge(claim.id, {"attempts": "99"})
            self.lose_leases()

    # --- workers, well and unwell -----------------------------------------------------------------

    @rule(queue=st.sampled_from(QUEUES))
    def work(self, queue):
        self.take_one(queue)

    @rule()
    def work_everywhere(self):
        for queue in QUEUES:
            self.take_one(queue)

    @rule(fault=st.sampled_from(FAULTS))
    def fail_next_call(self, fault):
        self.world.standin.faults.plan([fault])

    @rule(queue=st.sampled_from(QUEUES))
    def stall(self, queue):
        """A worker that has a job in hand and does not get on with it."""
        if claim := self.ledger.claim(queue):
            self.held.append((queue, claim))

    @precondition(lambda self: self.held)
    @rule()
    def wake_up(self):
        """That worker goes on, whatever has become of the job meanwhile."""
        self.carry_on(*self.held.pop(0))

    @rule()
    def lose_leases(self):
        self.bring_forward("fb:leases")

    @rule()
    def retry_now(self):
        self.redis.delete("fb:spillway")
        self.bring_forward("fb:later")

    # --- somebody who can write into Redis --------------------------------------------------------

    @precondition(lambda self: self.put)
    @rule(data=st.data(), egress=st.sampled_from(("allow", "deny", "ALLOW", "")))
    def forge_egress(self, data, egress):
        self.forge(self.some(data), {"egress": egress})

    @precondition(lambda self: self.put)
    @rule(data=st.data(), also=st.booleans())
    def forge_place(self, data, also):
        where = {"hop": "bedrock", "queue": "bedrock", **({"egress": "allow"} if also else {})}
        self.forge(self.some(data), where)

    @precondition(lambda self: self.put)
    @rule(data=st.data(), record_too=st.booleans())
    def move_to_bedrock(self, data, record_too):
        job_id = self.some(data)
        tenant = job_id.partition(".")[0]
        self.redis.zadd(f"fb:waiting:bedrock:interactive:{tenant}", {job_id: 1})
        self.redis.zadd("fb:turn:bedrock:interactive", {tenant: 0}, nx=True)
        if record_too:
            self.forge(job_id, {"hop": "bedrock", "queue": "bedrock", "egress": "allow"})
        self.take_one("bedrock")

    @precondition(lambda self: self.put)
    @rule(data=st.data(), name=st.sampled_from(("content", "draft")))
    def swap(self, data, name):
        """What is stored of one job, under another's id."""
        other = self.redis.get(f"fb:{name}:{self.some(data)}")
        if other:
            self.redis.set(f"fb:{name}:{self.some(data)}", other)

    @rule(message=st.sampled_from((b"{}", b"junk", b'{"body": "W10="}')))
    def ring_bedrock(self, message):
        self.redis.lpush("bedrock", message)
        self.take_one("bedrock")

    @precondition(lambda self: self.put)
    @rule(data=st.data())
    def answered_before(self, data):
        """The tenant asked the same before, and let that job leave."""
        job = self.put[self.some(data)].job
        if job.kind == "generate":
            earlier = job.model_copy(update={"egress": "allow", "cache": True})
            self.world.cache.put(earlier, "allow", bedrocks_answer(job))

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def nothing_ends_twice(self):
        for job_id in getattr(self, "put", ()):
            state = self.redis.hget(f"fb:job:{job_id}", "state")
            if state is not None and state.decode() in ENDED:
                assert self.ended.setdefault(job_id, state) == state

    def teardown(self):
        """All that is still under way ends, once nothing goes wrong any more."""
        if not hasattr(self, "put"):
            return
        self.fail_next_call(None)
        for _ in range(40):
            if not self.under_way():
                break
            self.redis.delete("fb:spillway", *self.redis.keys("fb:spend:job:*"))
            self.bring_forward("fb:leases")
            self.bring_forward("fb:later")
            for queue in QUEUES:
                while self.take_one(queue):
                    pass
        assert self.under_way() == []
        for queue in ("route", "bedrock"):  # the audits of what has ended just now
            while self.take_one(queue):
                pass
        self.nothing_ends_twice()
        self.answers_are_their_own()

    def answers_are_their_own(self):
        canaries = {put.canary for put in self.put.values()}
        for job_id, made in zip(self.put, self.ledger.results(list(self.put)), strict=True):
            put = self.put[job_id]
            assert getattr(made, "error", None) != "internal"
            if isinstance(made, Answer):
                said = made.content.model_dump_json()
                assert not [one for one in canaries - {put.canary} if one in said]
                assert made.lane == "local" or put.job.egress == "allow"

    # --- how --------------------------------------------------------------------------------------

    def some(self, data) -> str:
        return data.draw(st.sampled_from(list(self.put)))

    def forge(self, job_id: str, fields: dict[str, str]) -> None:
        if self.redis.exists(f"fb:job:{job_id}"):
            self.redis.hset(f"fb:job:{job_id}", mapping=fields)

    def bring_forward(self, what: str) -> None:
        for job_id in self.redis.zrange(what, 0, -1):
            self.redis.zadd(what, {job_id: 1})
        self.ledger.sweep()

    def failed(self) -> list[str]:
        return [job_id for job_id, state in self.ended.items() if state == b"failed"]

    def under_way(self) -> list[bytes]:
        states = [self.redis.hget(f"fb:job:{job_id}", "state") for job_id in self.put]
        return [state for state in states if state is not None and state.decode() not in ENDED]

    def take_one(self, queue: str) -> bool:
        claim = self.ledger.claim(queue)
        if claim is not None:
            self.carry_on(queue, claim)
        return claim is not None

    def carry_on(self, queue: str, claim: Claim) -> None:
        """Work a claim; the peer sees none of those that may not leave now.

        What a job shares with the dead one that it replays is judged by itself, and an audit by the
        job that it is of.
        """
        own = self.put.get(claim.record.audit_of or claim.id)
        judged = [
            put for put in self.put.values() if put is own or not own or put.canary != own.canary
        ]
        barred = [put.canary for put in judged if self.may_not_leave(put, claim)]
        with contextlib.suppress(Lost):
            record(self.ledger, claim, attempt(self.world.workers[queue].work, claim))
        for text in self.world.new_texts():
            assert not [canary for canary in barred if canary in text]
            self.world.audited += claim.record.audit_of is not None

    def may_not_leave(self, put: Put, claim: Claim) -> bool:
        if put.job.id == claim.id:
            recorded = claim.record.egress
        else:
            recorded = (self.redis.hget(f"fb:job:{put.job.id}", "egress") or b"deny").decode()
        return "deny" in {put.job.egress, recorded} or put.job.tenant in self.forced


def bedrocks_answer(job: Job) -> Answer:
    return Answer(
        id=job.id,
        kind=job.kind,
        egress="allow",
        status="done",
        lane="bedrock",
        model=DEFAULT_MODEL,
        content=Generation(text="what Bedrock said"),
    )


@pytest.fixture
def world(redis, tmp_path, monkeypatch):
    monkeypatch.setattr(spillway, "LOOK_EVERY_S", 0)  # what changed is seen at once
    world = World(redis, tmp_path)
    with world.standin:
        yield world
    world.local.close()


def test_nothing_that_may_not_leave_is_ever_seen_outside(world):
    Waterfall.world = world
    Waterfall.TestCase.settings = hypothesis_settings(
        max_examples=2_000 if LONG else 50, stateful_step_count=40, deadline=None
    )
    Waterfall.TestCase("runTest").runTest()
    assert world.sent > 25, "too little left the building for this to prove anything"
    assert world.replayed > 5, "too few jobs died and were replayed for this to prove anything"
    assert world.audited > 5, "too few answers were audited for this to prove anything"

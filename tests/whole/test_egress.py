"""No sequence of events sends content of a `deny` job out of the building.

A state machine (Hypothesis) runs all lanes in this thread, in any order: the real ledger, policy,
router, local worker (on the echo engine) and Bedrock worker (boto3), against the mock of Bedrock,
which records every call. Jobs fail, escalate, are retried, cancelled, forgotten, lost by their
worker and found again; meanwhile the policy changes, and an attacker writes into Redis. Each job
has a canary, a word of its own. After every step, the calls must have no canary of a job that may
not leave.
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
    Decide,
    Embed,
    Extract,
    Generate,
    Generation,
    Job,
    Label,
    Message,
    Predicate,
    Summarize,
)
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.dead_letters import DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.limits import spillway
from forebay.routing.policy.policy_file import DEFAULT_MODEL
from forebay.routing.settings import Settings
from forebay.routing.store.answer_cache import AnswerCache
from forebay.routing.store.fleet_secret import fleet_secret
from forebay.workers.bedrock import Bedrock
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.local import Local
from forebay.workers.router import Router
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.recording import record
from ledger_jobs import BELL
from mock_bedrock.server import MockBedrock

pytestmark = pytest.mark.slow

TENANTS = ("acme", "globex")
QUEUES = ("route", "local.default", "embed", "bedrock")
WRONG = {  # directives that make the echo engine give an answer that escalates
    "classify": "[[echo: confidence=0.2]]",
    "extract": "[[echo: say={no json]]",
    "summarize": "[[echo: say=the total is 99,123]]",
    "generate": "[[echo: say=]]",
    "decide": "[[echo: confidence=0.2]]",
    "embed": "",
}
FAULTS = (None, "throttle", "internal", "half", "drop", "denied", "refuse")
LONG = os.environ.get("FOREBAY_LONG_TESTS") == "1"


def request(kind: str, text: str):
    """Return a request of this kind with the text in every field that is content."""
    schema = {"type": "object", "properties": {text: {"type": "string", "description": text}}}
    match kind:
        case "classify":
            labels = [Label(name=f"{text} {i}", description=text) for i in range(2)]
            return Classify(text=text, labels=labels)
        case "extract":
            return Extract(text=text, schema=schema)
        case "summarize":
            return Summarize(text=text, focus=text)
        case "decide":
            question = Predicate(name=text, instructions=text, yes=text, no=text)
            return Decide(state={text: [text]}, questions=[question])
        case "generate":
            return Generate(messages=[Message(role="user", content=text)])
    return Embed(texts=[text])


@dataclass
class Submitted:
    """A job that was submitted, and the word that only its content has."""

    job: Job
    canary: str


class World:
    """The fleet of all examples, since it takes long to build."""

    def __init__(self, redis, folder) -> None:
        self.redis = redis
        self.policy = folder / "policy.toml"
        self.written = 0
        self.sent = self.replayed = self.audited = 0
        self.write_policy(set(), models=True)
        settings = Settings(lease_s=1000, policy_file=self.policy)
        self.ledger = Ledger(redis, settings, BELL)
        self.cache = AnswerCache(redis, fleet_secret(redis, settings), 60)
        self.mock = MockBedrock(key_pair=("test", "test"))
        bedrock = BedrockSettings(bedrock_endpoint=self.mock.url, bedrock_timeout_s=10)
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
        self.written += 1  # a new time for each version, even within one tick of the clock
        os.utime(self.policy, ns=(0, self.written * 1_000_000_000))

    def new_texts(self) -> list[str]:
        """Return the texts that have left the building since the last call."""
        texts = [call.text for call in self.mock.calls]
        self.mock.calls.clear()
        self.sent += len(texts)
        return texts


class Waterfall(RuleBasedStateMachine):
    """Everything that anybody can do to a job."""

    world: World

    @initialize()
    def begin(self):
        self.world.redis.flushdb()
        self.world.mock.calls.clear()
        self.world.mock.faults.plan([])
        self.redis, self.ledger = self.world.redis, self.world.ledger
        self.submitted: dict[str, Submitted] = {}
        self.stalled: list[tuple[str, Claim]] = []
        self.ended: dict[str, str] = {}
        self.ledger.serve("a bedrock worker", ["bedrock"], for_s=1_000_000)
        self.policy(forced=(), models=True)
        for tenant in TENANTS:
            self.submit(tenant, "allow", "generate", "bedrock", wrong=False, cache=True)
            self.submit(tenant, "allow", "summarize", "auto", wrong=True, cache=False)
            self.submit(tenant, "deny", "summarize", "auto", wrong=True, cache=True)
            for kind in ("classify", "summarize"):  # kept, and then audited
                self.submit(tenant, "allow", kind, "auto", wrong=False, cache=False)
        self.exhaust_attempts(["route"])

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
        canary = f"canary{len(self.submitted):05d}x"
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
        self.submitted[job.id] = Submitted(job, canary)

    @rule(
        forced=st.sampled_from(((), (), TENANTS[:1], TENANTS)),
        models=st.sampled_from((True, True, False)),
    )
    def policy(self, forced, models):
        self.forced = set(forced)
        self.world.write_policy(self.forced, models=models)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def cancel(self, data):
        with contextlib.suppress(UnknownJob):  # it was forgotten
            self.ledger.cancel(self.draw_job_id(data))

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def forget(self, data):
        job_id = self.draw_job_id(data)
        self.ledger.forget(job_id)
        self.ended.pop(job_id, None)

    @precondition(lambda self: self.failed())
    @rule(data=st.data(), changes=st.sampled_from(({}, {"egress": "allow"}, {"egress": "deny"})))
    def replay(self, data, changes):
        """Replay a dead job. Its egress is never looser than it was, whatever the changes say."""
        dead = data.draw(st.sampled_from(self.failed()))
        submitted = self.submitted[dead]
        with contextlib.suppress(CallerError):  # it may not leave, or the attacker has damaged it
            job_id = DeadLetters(self.ledger, submitted.job.tenant).replay(dead, **changes)
            tightest = (
                "deny" if "deny" in {submitted.job.egress, changes.get("egress")} else "allow"
            )
            again = submitted.job.model_copy(update={"id": job_id, "egress": tightest})
            self.submitted.setdefault(job_id, Submitted(again, submitted.canary))
            self.world.replayed += 1

    @rule(queues=st.lists(st.sampled_from(QUEUES), max_size=2))
    def exhaust_attempts(self, queues):
        """Let a worker lose the lease of a job that was tried too often; it wakes up later."""
        claims = ((queue, self.ledger.claim(queue)) for queue in queues)
        if stalled := next(((queue, claim) for queue, claim in claims if claim), None):
            self.stalled.append(stalled)
            claim = stalled[1]
            self.forge(claim.id, {"attempts": "99"})
            self.lose_leases()

    # --- workers, well and unwell -----------------------------------------------------------------

    @rule(queue=st.sampled_from(QUEUES))
    def work(self, queue):
        self.work_one(queue)

    @rule()
    def work_everywhere(self):
        for queue in QUEUES:
            self.work_one(queue)

    @rule(fault=st.sampled_from(FAULTS))
    def fail_next_call(self, fault):
        self.world.mock.faults.plan([fault])

    @rule(queue=st.sampled_from(QUEUES))
    def stall(self, queue):
        """Let a worker claim a job and stall."""
        if claim := self.ledger.claim(queue):
            self.stalled.append((queue, claim))

    @precondition(lambda self: self.stalled)
    @rule()
    def wake_up(self):
        """Let the worker that stalled first go on, whatever has happened to the job meanwhile."""
        self.finish(*self.stalled.pop(0))

    @rule()
    def lose_leases(self):
        self.bring_forward("fb:leases")

    @rule()
    def retry_now(self):
        rests = [
            key for name in ("pause", "load") for key in self.redis.keys(f"fb:spillway:{name}:*")
        ]
        self.redis.delete("fb:spillway", *rests)
        self.bring_forward("fb:later")

    # --- an attacker who can write into Redis -----------------------------------------------------

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), egress=st.sampled_from(("allow", "deny", "ALLOW", "")))
    def forge_egress(self, data, egress):
        self.forge(self.draw_job_id(data), {"egress": egress})

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), also=st.booleans())
    def forge_place(self, data, also):
        where = {"hop": "bedrock", "queue": "bedrock", **({"egress": "allow"} if also else {})}
        self.forge(self.draw_job_id(data), where)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), record_too=st.booleans())
    def move_to_bedrock(self, data, record_too):
        job_id = self.draw_job_id(data)
        tenant = job_id.partition(".")[0]
        self.redis.zadd(f"fb:waiting:bedrock:interactive:{tenant}", {job_id: 1})
        self.redis.zadd("fb:turn:bedrock:interactive", {tenant: 0}, nx=True)
        if record_too:
            self.forge(job_id, {"hop": "bedrock", "queue": "bedrock", "egress": "allow"})
        self.work_one("bedrock")

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), name=st.sampled_from(("content", "draft")))
    def swap(self, data, name):
        """Store what belongs to one job under the id of another."""
        other = self.redis.get(f"fb:{name}:{self.draw_job_id(data)}")
        if other:
            self.redis.set(f"fb:{name}:{self.draw_job_id(data)}", other)

    @rule(message=st.sampled_from((b"{}", b"junk", b'{"body": "W10="}')))
    def ring_bedrock(self, message):
        self.redis.lpush("bedrock", message)
        self.work_one("bedrock")

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def answered_before(self, data):
        """Let the cache hold the answer to an earlier, equal job that was allowed to leave."""
        job = self.submitted[self.draw_job_id(data)].job
        if job.kind == "generate":
            earlier = job.model_copy(update={"egress": "allow", "cache": True})
            self.world.cache.put(earlier, "allow", bedrock_answer(job))

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def nothing_ends_twice(self):
        for job_id in getattr(self, "submitted", ()):
            state = self.redis.hget(f"fb:job:{job_id}", "state")
            if state is not None and state.decode() in ENDED:
                assert self.ended.setdefault(job_id, state) == state

    def teardown(self):
        """Every job that has not ended ends, once nothing goes wrong any more."""
        if not hasattr(self, "submitted"):
            return
        self.fail_next_call(None)
        for _ in range(40):
            if not self.under_way():
                break
            keys = [*self.redis.keys("fb:spillway:*"), *self.redis.keys("fb:spend:job:*")]
            self.redis.delete("fb:spillway", *keys)
            self.bring_forward("fb:leases")
            self.bring_forward("fb:later")
            for queue in QUEUES:
                while self.work_one(queue):
                    pass
        assert self.under_way() == []
        for queue in ("route", "bedrock"):  # the audits of the jobs that have just ended
            while self.work_one(queue):
                pass
        self.nothing_ends_twice()
        self.answers_are_their_own()

    def answers_are_their_own(self):
        canaries = {submitted.canary for submitted in self.submitted.values()}
        for job_id, result in zip(
            self.submitted, self.ledger.results(list(self.submitted)), strict=True
        ):
            submitted = self.submitted[job_id]
            assert getattr(result, "error", None) != "internal"
            if isinstance(result, Answer):
                content = result.content.model_dump_json()
                assert not [word for word in canaries - {submitted.canary} if word in content]
                assert result.lane == "local" or submitted.job.egress == "allow"

    # --- helpers ----------------------------------------------------------------------------------

    def draw_job_id(self, data) -> str:
        return data.draw(st.sampled_from(list(self.submitted)))

    def forge(self, job_id: str, fields: dict[str, str]) -> None:
        if self.redis.exists(f"fb:job:{job_id}"):
            self.redis.hset(f"fb:job:{job_id}", mapping=fields)

    def bring_forward(self, key: str) -> None:
        for job_id in self.redis.zrange(key, 0, -1):
            self.redis.zadd(key, {job_id: 1})
        self.ledger.sweep()

    def failed(self) -> list[str]:
        return [job_id for job_id, state in self.ended.items() if state == b"failed"]

    def under_way(self) -> list[bytes]:
        states = [self.redis.hget(f"fb:job:{job_id}", "state") for job_id in self.submitted]
        return [state for state in states if state is not None and state.decode() not in ENDED]

    def work_one(self, queue: str) -> bool:
        claim = self.ledger.claim(queue)
        if claim is not None:
            self.finish(queue, claim)
        return claim is not None

    def finish(self, queue: str, claim: Claim) -> None:
        """Work a claim; then the calls must have no canary of a job that may not leave now.

        A replay and the dead job that it repeats share a canary: only the job that is worked is
        held to it. An audit is held to the canary of the job that it audits.
        """
        own = self.submitted.get(claim.record.audit_of or claim.id)
        judged = [
            submitted
            for submitted in self.submitted.values()
            if submitted is own or not own or submitted.canary != own.canary
        ]
        barred = [submitted.canary for submitted in judged if self.may_not_leave(submitted, claim)]
        with contextlib.suppress(Lost):
            record(self.ledger, claim, attempt(self.world.workers[queue].work, claim))
        for text in self.world.new_texts():
            assert not [canary for canary in barred if canary in text]
            self.world.audited += claim.record.audit_of is not None

    def may_not_leave(self, submitted: Submitted, claim: Claim) -> bool:
        if submitted.job.id == claim.id:
            recorded = claim.record.egress
        else:
            recorded = (self.redis.hget(f"fb:job:{submitted.job.id}", "egress") or b"deny").decode()
        return "deny" in {submitted.job.egress, recorded} or submitted.job.tenant in self.forced


def bedrock_answer(job: Job) -> Answer:
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
    monkeypatch.setattr(spillway, "LOOK_EVERY_S", 0)  # changes are seen at once
    world = World(redis, tmp_path)
    with world.mock:
        yield world
    world.local.close()


def test_nothing_that_may_not_leave_is_ever_seen_outside(world):
    Waterfall.world = world
    Waterfall.TestCase.settings = hypothesis_settings(
        max_examples=2_000 if LONG else 50, stateful_step_count=40, deadline=None
    )
    Waterfall.TestCase("runTest").runTest()
    assert world.sent > 25, "too little left the building for this to prove anything"
    assert world.replayed > 5, "too few dead jobs were replayed for this to prove anything"
    assert world.audited > 5, "too few answers were audited for this to prove anything"

"""The router: `celery -A forebay.workers.router worker`. Gives each job a verdict, then its lane.

A job takes a few milliseconds of work in the process itself, so the pool is `solo`; start more
routers for a higher rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import redis

from forebay.routing.bulk.shards import open_shard
from forebay.routing.errors import EgressDenied, NoModel, Unavailable
from forebay.routing.jobs import Answer, Content, Job, Verdict
from forebay.routing.lanes import ROUTE
from forebay.routing.learning.verdicts import Verdicts
from forebay.routing.learning.versions import CurrentRouterModel
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.lanes.published_lanes import PublishedLanes
from forebay.routing.limits.pacing import Offer, Pacer
from forebay.routing.limits.pauses import Pauses
from forebay.routing.policy.egress import egress, may_go
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.lane import Decision, choose_lane
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.policy.secret_scanner import Scanner
from forebay.routing.reasons import Reason
from forebay.routing.scoring.router_model import VerdictSource
from forebay.routing.settings import read
from forebay.routing.store.fleet_secret import fleet_secret
from forebay.routing.store.served_models import ServedModels
from forebay.workers.cascade.doubting.doubt import UNKNOWN_PROBABILITY
from forebay.workers.cascade.router_models.decision_router_model import DecisionRouterModel
from forebay.workers.cascade.router_models.llm_router_model import LlmRouterModel
from forebay.workers.engines.engine import Engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings, RouterSettings
from forebay.workers.models.encoder_reading import EncoderReading
from forebay.workers.runtime.actor import Actor, app_on_demand
from forebay.workers.runtime.execute import Worked, attempt
from forebay.workers.runtime.outcomes import Failed, Outcome, Routed
from forebay.workers.runtime.retries import outcome_of_pause
from forebay.workers.telemetry.observers import observers

JOBS_AT_ONCE = 32  # that are claimed in one round trip; a language model takes one at a time


@dataclass(frozen=True, slots=True)
class Scanned:
    """A claimed job after the scan for secrets.

    Attributes:
        policy: in force when the job was opened; it holds for all steps.
        secret: the kind of secret that was found, if any.
    """

    claim: Claim
    job: Job
    policy: Policy
    secret: str | None


@dataclass(frozen=True, slots=True)
class Looked:
    """A job with its verdict and the state of the frontier, before the pace is asked.

    Attributes:
        offer: to the pacing controller; `None` if the job is not free to go up.
    """

    scanned: Scanned
    verdict: Verdict
    state: FrontierState
    offer: Offer | None


class Router:
    """Chooses the lane of each job.

    1. Opens the job and reads the policy.
    2. Scans a job that could leave for secrets.
    3. Gets the verdict of the router model, moved by what audits have taught.
    4. Asks how it looks on Bedrock, and what the pace makes of the job.
    5. Has the policy choose the lane.
    6. Sends a job that names a local model to a pool that serves it.
    7. Publishes what the policy says of jobs whose lane is no question.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Raise `Misconfigured` if the policy asks for scans and their package is missing."""
        key = fleet_secret(ledger.redis, ledger.settings)
        self._ledger = ledger
        self._opened, model = _open_model(ledger.redis)
        self._verdicts = Verdicts(model, ledger.redis, key, _open_reading())
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._lanes = PublishedLanes(ledger.redis, self._policy)
        self._frontier = FrontierStatus(ledger.redis)
        self._pacer = Pacer(ledger.redis)
        self._pauses = Pauses(ledger.redis)
        self._served = ServedModels(ledger.redis)
        self._scanner = Scanner() if self._policy.current().scans else None

    def work(self, claim: Claim, /) -> Outcome:
        """Return the lane of one job; a failure if it is pinned to a lane closed to it.

        A job whose kind an operator has paused goes back to its queue for a while.
        """
        looked = self._looked(claim)
        return self._decided(looked, self._paces([claim], [looked]), claim)

    def work_all(self, claims: Sequence[Claim], /) -> Iterator[Worked]:
        """Yield all jobs with what `work` returns for each, or the outcome of what it raises.

        The pace of all is asked in one round trip, which takes longer than the rest of a job.
        """
        looked = [attempt(self._looked, claim) for claim in claims]
        paces = self._paces(claims, looked)
        yield [
            (claim, attempt(partial(self._decided, one, paces), claim))
            for claim, one in zip(claims, looked, strict=True)
        ]

    def publish(self) -> None:
        """Publish the lanes of jobs that need no router."""
        self._lanes.publish()

    def close(self) -> None:
        """Stop the engine, if a model of its own gives the verdicts."""
        if self._opened:
            self._opened.close()

    def _scan(self, claim: Claim, job: Job, policy: Policy) -> Scanned:
        """Look for a secret in a job that could leave and, in an audit, in the audited answer."""
        secret = None
        if policy.tenant(job.tenant).scan_secrets and egress(job, policy) == "allow":
            if self._scanner is None:  # the policy asked for no scans when we started
                self._scanner = Scanner()
            secret = self._scanner.find(job, self._audited_content(claim))
        return Scanned(claim, job, policy, secret)

    def _audited_content(self, claim: Claim) -> Content | None:
        """Return the content that an audit shows to Bedrock; `None` if this is no audit.

        An answer that is gone is not shown: the auditor then drops the audit.
        """
        if claim.record.audit_of is None:
            return None
        (result,) = self._ledger.results([claim.record.audit_of])
        return result.content if isinstance(result, Answer) else None

    def _looked(self, claim: Claim) -> Looked | Outcome:
        """Look at one job; return its outcome if there is nothing to decide."""
        if self._pauses.hold(f"kind:{claim.record.kind}"):
            return outcome_of_pause()
        if claim.record.rows:
            return self._shard_lane(claim, self._policy.current())
        scanned = self._scan(claim, claim.job(), self._policy.current())
        verdict = self._verdicts.verdict(scanned.job)
        job, policy = scanned.job, scanned.policy
        state = self._frontier.state(job, policy)
        state = replace(state, secret=scanned.secret is not None)
        free = job.lane == "auto" and may_go(job, policy, state)
        offer = Offer(job, policy, "before", verdict.score) if free else None
        return Looked(scanned, verdict, state, offer)

    def _paces(
        self, claims: Sequence[Claim], looked: Sequence[Looked | Outcome]
    ) -> dict[str, Pace | None]:
        """Offer the jobs that are free to go up to the pacing controller; return paces by token."""
        offers = {
            claim.token: one.offer
            for claim, one in zip(claims, looked, strict=True)
            if isinstance(one, Looked) and one.offer
        }
        return dict(zip(offers, self._pacer.offer_all(list(offers.values())), strict=True))

    def _decided(
        self, looked: Looked | Outcome, paces: dict[str, Pace | None], claim: Claim
    ) -> Outcome:
        """Choose the lane of a job, and the pool if it names a model."""
        if not isinstance(looked, Looked):
            return looked
        state = replace(looked.state, pace=paces.get(claim.token))
        return self._to_its_model(looked.scanned, _choose(looked.scanned, looked.verdict, state))

    def _to_its_model(self, scanned: Scanned, outcome: Routed | Failed) -> Routed | Failed:
        """Send a job that names a local model to a pool that serves the model."""
        job = scanned.job
        if job.model is None or job.lane != "local" or isinstance(outcome, Failed):
            return outcome
        return replace(outcome, queue=self._queue_of(job, job.model, scanned.policy))

    def _queue_of(self, job: Job, model: str, policy: Policy) -> str:
        """Return the queue of a pool of the job's tenant that serves this model.

        Raises:
            Unavailable: No worker of these pools serves it now.
        """
        queues = policy.tenant(job.tenant).local_queues(job.kind)
        queue = self._served.queue_of(model, job.kind, queues)
        if queue is None:
            raise Unavailable("is served by no worker of the tenant's pools", field="model")
        return queue

    def _shard_lane(self, claim: Claim, policy: Policy) -> Routed:
        """Send a shard to the local lane. Each of its rows may go up from there, by its answer.

        Raises:
            Unavailable: No worker serves the model that its rows name.
        """
        shard = open_shard(claim)
        row = shard.job(0, shard.egress)
        rules, model = policy.tenant(shard.tenant), shard.model
        queue = self._queue_of(row, model, policy) if model else rules.queue(row)
        verdict = Verdict(probability=UNKNOWN_PROBABILITY, version="none")
        return Routed(queue, egress(row, policy), Reason.BULK.value, verdict)


def _choose(scanned: Scanned, verdict: Verdict, state: FrontierState) -> Routed | Failed:
    """Have the policy choose the lane."""
    job, policy, secret = scanned.job, scanned.policy, scanned.secret
    try:
        decision = choose_lane(job, verdict, policy, state)
    except NoModel as error:
        return Failed(error, (Reason.NO_MODEL_ALLOWED,))
    except EgressDenied as error:
        return Failed(error, (_secret_reason(secret),) if secret else ())
    leave = "deny" if secret else egress(job, policy)
    compared = verdict.model_copy(update={"threshold": decision.threshold})
    return Routed(decision.queue, leave, _reason(scanned, decision), compared)


def _reason(scanned: Scanned, decision: Decision) -> str:
    """Return the decision's reason. A secret is named even if something else decided."""
    if scanned.claim.record.audit_of:
        return Reason.AUDIT.value
    if scanned.secret is None:
        return decision.reason.value
    first = "" if decision.reason == Reason.SECRET_FOUND else f"{decision.reason},"
    return f"{first}{_secret_reason(scanned.secret)}"


def _secret_reason(secret: str) -> str:
    return f"{Reason.SECRET_FOUND}:{secret}"


def _open_reading() -> EncoderReading | None:
    """Return what reads texts by the sentence encoder, if it is set."""
    file = read(RouterSettings).router_encoder
    return EncoderReading.load(file) if file else None


def _open_model(
    client: redis.Redis,
) -> tuple[Engine | DecisionRouterModel | None, VerdictSource]:
    """Return what gives the verdicts, and what is to be closed at the end, if anything."""
    settings, packaged = read(RouterSettings), CurrentRouterModel(client)
    if settings.router_decision_model is not None:
        file = settings.router_decision_model
        decisions = DecisionRouterModel(file, packaged, read(EngineSettings))
        return decisions, decisions
    if settings.router_model == "packaged":
        return None, packaged
    engine = open_engine(read(EngineSettings))
    return engine, LlmRouterModel(engine, packaged)


def _actor() -> Actor:
    settings = read(RouterSettings)
    alone = settings.router_model == "packaged" and settings.router_decision_model is None
    batch = JOBS_AT_ONCE if alone else 1
    return Actor(
        [ROUTE],
        Router,
        pool="solo",
        concurrency=1,
        jobs_at_once=batch,
        work_all=Router.work_all,
        on_beat=Router.publish,
        hooks=observers(),
    )


__getattr__ = app_on_demand(_actor)

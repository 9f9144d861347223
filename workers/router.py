"""The router: `celery -A forebay.workers.router worker`. A verdict on each job, then its lane.

A few milliseconds of work a job, in the process itself, so `solo`; start more of them for more.
"""

from __future__ import annotations

from dataclasses import replace

from forebay.routing.errors import EgressDenied
from forebay.routing.jobs import Answer, Content, Job, Verdict
from forebay.routing.lanes import ROUTE
from forebay.routing.learning.verdicts import Verdicts
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.pacing import Pacer
from forebay.routing.policy.egress import egress, may_go
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.lane import Decision, choose_lane
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.policy.secret_scanner import Scanner
from forebay.routing.reasons import Reason
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import read
from forebay.routing.store import answer_cache
from forebay.workers.cascade.llm_router_model import LlmRouterModel
from forebay.workers.engines.engine import Engine
from forebay.workers.engines.host.supervisor import open_engine
from forebay.workers.engines.settings import EngineSettings, RouterSettings
from forebay.workers.runtime.actor import Actor
from forebay.workers.runtime.execute import Failed, Outcome, Routed


class Router:
    """Decides by the policy, the verdict, the pace, how Bedrock does, and what may not go there."""

    def __init__(self, ledger: Ledger) -> None:
        """Raise `Misconfigured` where secrets are to be looked for, and the package is missing."""
        key = answer_cache.secret(ledger.redis, ledger.settings)
        self._ledger = ledger
        self._engine = _engine()
        packaged = RouterModel.load()
        judge = LlmRouterModel(self._engine, packaged) if self._engine else packaged
        self._verdicts = Verdicts(judge, ledger.redis, key)
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._outlook = FrontierStatus(ledger.redis)
        self._pacer = Pacer(ledger.redis)
        self._scanner = Scanner() if self._policy.current().scans else None

    def work(self, claim: Claim, /) -> Outcome:
        """The lane of one job; a failure where it is pinned to one that it may not go to."""
        job, rules = claim.job(), self._policy.current()
        secret = self._secret(claim, job, rules)
        verdict = self._verdicts.verdict(job)
        state = replace(self._outlook.state(job, rules), secret=secret is not None)
        state = replace(state, pace=self._paced(job, verdict, rules, state))
        try:
            decision = choose_lane(job, verdict, rules, state)
        except EgressDenied as error:
            return Failed(error, (_found(secret),) if secret else ())
        leave = "deny" if secret else egress(job, rules)
        held = verdict.model_copy(update={"threshold": decision.threshold})
        reason = Reason.AUDIT.value if claim.record.audit_of else _reason(decision, secret)
        return Routed(decision.queue, leave, reason, held)

    def close(self) -> None:
        """Stop the engine, where a language model gives the verdicts."""
        if self._engine:
            self._engine.close()

    def _paced(
        self, job: Job, verdict: Verdict, rules: Policy, state: FrontierState
    ) -> Pace | None:
        """What the pace makes of a job that is free to go up."""
        if job.lane != "auto" or not may_go(job, rules, state):
            return None
        return self._pacer.offer(job, rules, "before", verdict.score)

    def _secret(self, claim: Claim, job: Job, rules: Policy) -> str | None:
        """The kind of secret in a job that could leave, or in the answer that its audit is of."""
        wanted = rules.tenant(job.tenant).scan_secrets
        if not wanted or egress(job, rules) == "deny":
            return None
        if self._scanner is None:  # the policy did not ask for it when we started
            self._scanner = Scanner()
        return self._scanner.find(job, self._audited(claim))

    def _audited(self, claim: Claim) -> Content | None:
        """What an audit shows the model on Bedrock besides; where it is gone, none is made."""
        if claim.record.audit_of is None:
            return None
        (found,) = self._ledger.results([claim.record.audit_of])
        return found.content if isinstance(found, Answer) else None


def _engine() -> Engine | None:
    """The engine that gives the verdicts, where the settings ask for one."""
    if read(RouterSettings).router_model == "packaged":
        return None
    return open_engine(read(EngineSettings))


def _reason(decision: Decision, secret: str | None) -> str:
    """The decision's reason; a secret is named with it, also where something else came first."""
    first = "" if decision.reason == Reason.SECRET_FOUND else f"{decision.reason},"
    return f"{first}{_found(secret)}" if secret else decision.reason.value


def _found(secret: str) -> str:
    return f"{Reason.SECRET_FOUND}:{secret}"


app = Actor([ROUTE], Router, pool="solo", concurrency=1).app

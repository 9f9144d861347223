"""The workers of a fleet, on threads of this process instead of processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.lanes import BEDROCK, EMBED, ROUTE, SWEEP, local_queue
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.testing.answerer import ScriptedAnswerer
from forebay.testing.engine import ScriptedEngine
from forebay.testing.hermetic import hermetic
from forebay.testing.lanes import THREADS, Lanes
from forebay.testing.provider import ScriptedProvider
from forebay.testing.script import Script
from forebay.workers.bedrock import Bedrock
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.local import Local
from forebay.workers.router import Router
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.execute import Executor, Work, attempt
from forebay.workers.runtime.outcomes import Outcome, Retry
from forebay.workers.sweeper import Sweeper

CONTEXT_TOKENS = 100_000
SERVED_S = 86_400.0


def start_workers(settings: Settings, script: Script, stack: ExitStack) -> None:
    """Start the workers of a fleet; the stack stops them and ends their threads."""
    client = connect(settings, "work")  # its replies may take longer than `LISTEN_S`
    stack.callback(client.close)
    ledger = Ledger(client, settings, packaged_template)
    works = _works(ledger, script, stack)
    stack.callback(Sweeper(ledger).close)
    in_flight = InFlight(THREADS)
    answers: dict[str, Callable[[], object]] = {
        queue: partial(Executor(ledger, work, in_flight).answer_doorbell, queue)
        for queue, work in works.items()
    }
    ledger.serve("testing", [*answers, SWEEP], SERVED_S)
    stack.callback(Lanes(client, answers).close)


def _works(ledger: Ledger, script: Script, stack: ExitStack) -> dict[str, Work]:
    """Return what works a job of each queue: the router, the bedrock lane, or the local lane."""
    engine = _scripted_engine(script)
    stack.callback(engine.close)
    bedrock_settings = hermetic(BedrockSettings)
    provider = ScriptedProvider(script, engine, bedrock_settings.bedrock_term_s)
    router = Router(ledger)
    stack.callback(router.close)
    local = Local(ledger, lambda: ScriptedAnswerer(engine))
    stack.callback(local.close)
    bedrock = Bedrock(ledger, bedrock_settings, provider)
    stack.callback(bedrock.close)
    local_work = partial(_work_locally, engine, local.work)
    return {
        ROUTE: router.work,
        BEDROCK: partial(_work_on_bedrock, provider, bedrock.work),
        **dict.fromkeys((EMBED, *_pool_queues(ledger.settings)), local_work),
    }


def _scripted_engine(script: Script) -> ScriptedEngine:
    settings = hermetic(EngineSettings, engine="echo", slots=THREADS, context_tokens=CONTEXT_TOKENS)
    return ScriptedEngine(script, EchoEngine(settings))


def _work_locally(engine: ScriptedEngine, work: Work, claim: Claim) -> Outcome:
    """Work a job while the engine knows the request that its prompts stand for."""
    if claim.record.rows:
        return attempt(work, claim)
    with engine.working(claim.job().request):
        outcome = attempt(work, claim)
        return _counted(outcome) if engine.failed else outcome


def _work_on_bedrock(provider: ScriptedProvider, work: Work, claim: Claim) -> Outcome:
    """Work a job while the provider knows the job that its calls are made for."""
    with provider.working(claim.job()):
        outcome = attempt(work, claim)
        return _counted(outcome) if provider.failed else outcome


def _counted(outcome: Outcome) -> Outcome:
    """Count a retry as an attempt: a scripted error must not be retried for ever."""
    return replace(outcome, counted=True) if isinstance(outcome, Retry) else outcome


def _pool_queues(settings: Settings) -> set[str]:
    """Return the queues of all pools that the policy names."""
    policy = Policy.load(settings.policy_file)
    tenants = [policy.tenant(name) for name in ("", *policy.tenants)]
    return {local_queue(pool) for tenant in tenants for pool in dict(tenant.pools).values()}

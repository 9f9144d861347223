"""What a fleet's worker processes would run, on threads of this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from forebay.producers.submission import doorbell
from forebay.routing.lanes import BEDROCK, EMBED, ROUTE, SWEEP, local_queue
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.testing.bedrock import MockBedrockLane
from forebay.testing.engine import ScriptedEngine
from forebay.testing.hermetic import hermetic
from forebay.testing.lanes import THREADS, Lanes
from forebay.testing.script import Script
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.local import Local
from forebay.workers.router import Router
from forebay.workers.runtime.execute import execute
from forebay.workers.runtime.in_flight import InFlight
from forebay.workers.sweeper import Sweeper

CONTEXT_TOKENS = 100_000
SERVED_S = 86_400.0

Work = Callable[[Claim], Any]  # returns an outcome, which `execute` records


def start_workers(settings: Settings, script: Script, stack: ExitStack) -> None:
    """Start the workers of a fleet; the stack stops them and ends their threads."""
    client = connect(settings)
    stack.callback(client.close)
    ledger = Ledger(client, settings, doorbell(settings))
    engine = _scripted_engine(script)
    stack.callback(engine.close)
    works = _works(ledger, engine, stack)
    stack.callback(Sweeper(ledger).close)
    in_flight = InFlight(THREADS)
    answers: dict[str, Callable[[], object]] = {
        queue: partial(execute, ledger, queue, work, in_flight) for queue, work in works.items()
    }
    answers[BEDROCK] = MockBedrockLane(ledger, engine).answer_doorbell
    ledger.serve("testing", [*answers, SWEEP], SERVED_S)
    stack.callback(Lanes(client, answers).close)


def _scripted_engine(script: Script) -> ScriptedEngine:
    settings = hermetic(EngineSettings, engine="echo", slots=THREADS, context_tokens=CONTEXT_TOKENS)
    return ScriptedEngine(script, EchoEngine(settings))


def _works(ledger: Ledger, engine: ScriptedEngine, stack: ExitStack) -> dict[str, Work]:
    """Return what works a job of each queue: the router, and the local worker for the others."""
    router, local = Router(ledger), Local(ledger, lambda: Answerer(engine))
    stack.callback(router.close)
    stack.callback(local.close)
    work = partial(_work_scripted, engine, local.work)
    return {ROUTE: router.work, **dict.fromkeys((EMBED, *_pool_queues(ledger.settings)), work)}


def _work_scripted(engine: ScriptedEngine, work: Work, claim: Claim) -> Any:
    """Work a job while the engine knows the request that its prompts stand for."""
    with engine.working(claim.job().request):
        return work(claim)


def _pool_queues(settings: Settings) -> set[str]:
    """Return the queues of all pools that the policy names."""
    policy = Policy.load(settings.policy_file)
    tenants = [policy.tenant(name) for name in ("", *policy.tenants)]
    return {local_queue(pool) for tenant in tenants for pool in dict(tenant.pools).values()}

"""The fleet that a service's own tests use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_settings import BaseSettings

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.producers.submission import doorbell
from forebay.routing.base import FrozenModel
from forebay.routing.errors import ForebayError
from forebay.routing.lanes import BEDROCK, EMBED, ROUTE, SWEEP, local_queue
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.testing.script import Rule, Script, content
from forebay.testing.server import RedisServer

if TYPE_CHECKING:
    from forebay.routing.ledger.ledger import Claim
    from forebay.testing.engine import ScriptedEngine
    from forebay.workers.runtime.execute import Outcome

RequestT = TypeVar("RequestT", bound=FrozenModel)
SettingsT = TypeVar("SettingsT", bound=BaseSettings)

SWEEP_S = 0.05
MAX_ATTEMPTS = 2  # a second attempt comes after half a second to one second
SERVED_S = 86_400.0
CONTEXT_TOKENS = 100_000

#: Whatever the router predicts, a job stays local unless it is pinned to Bedrock.
STAY_LOCAL = """
[defaults]
scan_secrets = false
thresholds = { classify = 0.0, extract = 0.0, summarize = 0.0, generate = 0.0 }
[defaults.second_opinion]
extract = 0.0
generate = 0.0
"""


class Fleet:
    """A fleet in this process; see `forebay.testing`.

    1. Gives clients of any tenant: `client`, `async_client`.
    2. Answers requests as the test says: `answer`, `fail`. The newest rule that fits goes first.
    3. Tells what was asked: `requests`.

    A job that is pinned to Bedrock, or that a policy of the test's own sends there, is answered by
    the same rules; its answer says `lane="bedrock"` and `stand_in=True`.
    """

    def __init__(self, settings: Settings, script: Script, stack: ExitStack) -> None:
        self.settings = settings
        self._script = script
        self._stack = stack

    @property
    def url(self) -> str:
        """The value for `FOREBAY_REDIS_URL`, for a service that makes its client itself."""
        return self.settings.redis_url

    def client(self, tenant: str = "default", *, patience: float = 0.0) -> Client:
        """Return a client of this fleet. It is closed with the fleet, if not before."""
        client = Client(tenant=tenant, settings=self.settings, patience=patience)
        self._stack.callback(client.close)
        return client

    def async_client(self, tenant: str = "default", *, patience: float = 0.0) -> AsyncClient:
        """Return an asyncio client of this fleet. The test closes it: `async with`."""
        return AsyncClient(tenant=tenant, settings=self.settings, patience=patience)

    def answer(
        self,
        kind: type[RequestT],
        reply: Callable[[RequestT], Any] | FrozenModel | None = None,
        /,
        *,
        when: Callable[[RequestT], bool] | None = None,
        times: int | None = None,
        **fields: Any,
    ) -> None:
        """Have the model answer requests of this kind.

            fleet.answer(Classify, label="billing")
            fleet.answer(Extract, data=Invoice(total=12.5))
            fleet.answer(Summarize, lambda request: {"text": request.text[:20]})

        The checks of answers are real. A label that the request does not offer ends in `BadAnswer`;
        an object whose values do not occur in the text comes back marked `degraded`.

        Args:
            kind: the class of the requests: `Classify`, `Extract`, ...
            reply: a content (`Classification(...)`), or a function of the request that returns a
                content, a dictionary of its fields, or an error. What the function raises is raised
                again when the fleet ends.
            when: answer only requests for which this function returns true.
            times: answer only so many requests; by default all of them.
            fields: the fields of the content, in place of `reply`.
        """
        if reply is None:
            reply = content(kind, fields)
        elif fields:
            raise TypeError("give a reply or the fields of its content, not both")
        make = reply if callable(reply) else partial(_constant, reply)
        self._script.add(Rule(kind, make, when, times))

    def fail(
        self,
        kind: type[RequestT],
        error: ForebayError | type[ForebayError],
        *,
        when: Callable[[RequestT], bool] | None = None,
        times: int | None = None,
    ) -> None:
        """Have requests of this kind end in an error, such as `ModelRefused`.

        A passing error (`Throttled`, `Unavailable`) and `EngineDied` are tried again once, after
        about a second: with `times=1` the second attempt is answered.
        """
        failure = error("scripted") if isinstance(error, type) else error
        self._script.add(Rule(kind, partial(_constant, failure), when, times))

    def reset(self) -> None:
        """Forget the script and the requests, for tests that share a fleet; stored jobs stay."""
        self._script.clear()

    def requests(self, kind: type[RequestT]) -> list[RequestT]:
        """Return the requests of this kind that were worked so far, once for each attempt."""
        return [request for request in self._script.requests if isinstance(request, kind)]


@contextmanager
def fleet(*, policy: Path | str | None = None) -> Iterator[Fleet]:
    """Run a fleet in this process, with a Redis server of its own. It takes about 0.1 seconds.

    The first fleet of a process takes a second longer, to import Celery. Nothing of the environment
    is read, and every thread ends with the `with` statement.

    Args:
        policy: the path of a `policy.toml`, or its text. By default every job that is not pinned
            to Bedrock is answered locally, and no secrets are looked for.

    Raises:
        Misconfigured: The extra `testing` is not installed, or the policy is wrong.
    """
    script = Script()
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        path = policy if isinstance(policy, Path) else server.folder / "policy.toml"
        if not isinstance(policy, Path):
            path.write_text(STAY_LOCAL if policy is None else policy)
        settings = _hermetic(
            Settings, redis_url=server.url, policy_file=path, sweep_s=SWEEP_S,
            max_attempts=MAX_ATTEMPTS,
        )  # fmt: skip
        with _empty_environment():
            _start_workers(settings, script, stack)
        clients = stack.enter_context(ExitStack())
        yield Fleet(settings, script, clients)
    if script.errors:
        raise script.errors[0]


def _start_workers(settings: Settings, script: Script, stack: ExitStack) -> None:
    """Start what a fleet's processes would run, on threads that end with the stack."""
    from forebay.testing.bedrock import MockBedrockLane  # noqa: PLC0415 - they import Celery
    from forebay.testing.engine import ScriptedEngine  # noqa: PLC0415
    from forebay.testing.lanes import THREADS, Lanes  # noqa: PLC0415
    from forebay.workers.cascade.answerer import Answerer  # noqa: PLC0415
    from forebay.workers.engines.batching.echo import EchoEngine  # noqa: PLC0415
    from forebay.workers.engines.settings import EngineSettings  # noqa: PLC0415
    from forebay.workers.local import Local  # noqa: PLC0415
    from forebay.workers.router import Router  # noqa: PLC0415
    from forebay.workers.runtime.execute import execute  # noqa: PLC0415
    from forebay.workers.runtime.in_flight import InFlight  # noqa: PLC0415
    from forebay.workers.sweeper import Sweeper  # noqa: PLC0415

    client = connect(settings)
    stack.callback(client.close)
    ledger = Ledger(client, settings, doorbell(settings))
    echo = _hermetic(EngineSettings, engine="echo", slots=THREADS, context_tokens=CONTEXT_TOKENS)
    engine = ScriptedEngine(script, EchoEngine(echo))
    stack.callback(engine.close)
    router, local = Router(ledger), Local(ledger, lambda: Answerer(engine))
    stack.callback(router.close)
    stack.callback(local.close)
    stack.callback(Sweeper(ledger).close)
    in_flight = InFlight(THREADS)
    work = partial(_work, engine, local.work)
    answers: dict[str, Callable[[], object]] = {
        ROUTE: partial(execute, ledger, ROUTE, router.work, in_flight),
        **{
            queue: partial(execute, ledger, queue, work, in_flight)
            for queue in (EMBED, *_pool_queues(settings))
        },
        BEDROCK: MockBedrockLane(ledger, engine).answer_doorbell,
    }
    ledger.serve("testing", [*answers, SWEEP], SERVED_S)
    stack.callback(Lanes(client, answers).close)


def _pool_queues(settings: Settings) -> set[str]:
    """Return the queues of all pools that the policy names."""
    policy = Policy.load(settings.policy_file)
    tenants = [policy.tenant(name) for name in ("", *policy.tenants)]
    return {local_queue(pool) for tenant in tenants for pool in dict(tenant.pools).values()}


@contextmanager
def _empty_environment() -> Iterator[None]:
    """Hide Forebay's settings: the workers' modules read them when they are imported."""
    hidden = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith("FOREBAY_")
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _work(engine: ScriptedEngine, work: Callable[[Claim], Outcome], claim: Claim) -> Outcome:
    """Work a job while the engine knows the request that its prompts stand for."""
    with engine.working(claim.job().request):
        return work(claim)


def _hermetic(cls: type[SettingsT], **fields: Any) -> SettingsT:
    """Return settings that owe nothing to the environment."""
    defaults = {name: field.get_default() for name, field in cls.model_fields.items()}
    return cls(**{**defaults, **fields})


def _constant(reply: object, _: object) -> object:
    return reply

"""The fleet that a service's own tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.base import FrozenModel
from forebay.routing.errors import ForebayError
from forebay.routing.settings import Settings
from forebay.testing.hermetic import empty_environment, hermetic
from forebay.testing.script import Rule, Script, content
from forebay.testing.server import RedisServer

RequestT = TypeVar("RequestT", bound=FrozenModel)

SWEEP_S = 0.05
MAX_ATTEMPTS = 2  # a second attempt comes after half a second to one second

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
        settings = hermetic(
            Settings, redis_url=server.url, policy_file=path, sweep_s=SWEEP_S,
            max_attempts=MAX_ATTEMPTS,
        )  # fmt: skip
        with empty_environment():
            from forebay.testing.workers import start_workers  # noqa: PLC0415 - imports Celery

            start_workers(settings, script, stack)
        clients = stack.enter_context(ExitStack())
        yield Fleet(settings, script, clients)
    if script.errors:
        raise script.errors[0]


def _constant(reply: object, _: object) -> object:
    return reply

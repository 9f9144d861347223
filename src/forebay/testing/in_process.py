"""The fleet that a service's own tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.base import FrozenModel
from forebay.routing.errors import ForebayError
from forebay.routing.lanes import Lane
from forebay.routing.settings import Settings
from forebay.testing.failures import failure, lane_of
from forebay.testing.hermetic import empty_environment, hermetic
from forebay.testing.script import Rule, Script, check_kind, check_lane, constant, content
from forebay.testing.server import RedisServer

RequestT = TypeVar("RequestT", bound=FrozenModel)

SWEEP_S = 0.05
MAX_ATTEMPTS = 2  # a second attempt comes after half a second to one second

#: Whatever the router predicts, a job stays local unless it is pinned to Bedrock.
STAY_LOCAL = """
[defaults]
scan_secrets = false
thresholds = { classify = 0.0, extract = 0.0, summarize = 0.0, generate = 0.0, decide = 0.0 }
[defaults.second_opinion]
extract = 0.0
generate = 0.0
"""


class Fleet:
    """A fleet in this process; see `forebay.testing`.

    1. Gives clients of any tenant: `client`, `async_client`.
    2. Answers requests as the test says: `answer`, `fail`. The newest rule that fits goes first.
    3. Tells what was asked: `requests`.

    A job that is pinned to Bedrock, or that a policy of the test's own sends there, is worked by
    the real bedrock lane, which asks the script in the model's place. Its answer says
    `lane="bedrock"` and `stand_in=True`. A rule with `lane=` answers in that lane only.
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
        reply: Callable[[RequestT], Any] | FrozenModel | Mapping[str, Any] | None = None,
        /,
        *,
        when: Callable[[RequestT], bool] | None = None,
        times: int | None = None,
        lane: Lane | None = None,
        **fields: Any,
    ) -> None:
        """Have the model answer requests of this kind.

            fleet.answer(Classify, label="billing")
            fleet.answer(Extract, data=Invoice(total=12.5))
            fleet.answer(Summarize, lambda request: {"text": request.text[:20]})

        The checks of answers are real. A label that the request does not offer ends in `BadAnswer`;
        an object whose values do not occur in the text comes back marked `degraded`. A label has a
        probability only in the local lane, as live.

        Args:
            kind: the class of the requests: `Classify`, `Extract`, ...
            reply: a content (`Classification(...)`) or a dictionary of its fields; or a function of
                the request that returns one of them, or an error. What the function raises, other
                than an error of Forebay, is a mistake of the test: it is raised again from the
                `with` statement of the fleet, whatever else its block raised.
            when: answer only requests for which this function returns true.
            times: answer only so many requests; by default all of them.
            lane: answer only in this lane; by default in both.
            fields: the fields of the content, in place of `reply`.

        Raises:
            TypeError: The reply does not answer requests of this kind.
            InvalidJob: A field of the content is wrong.
        """
        if reply is not None and fields:
            raise TypeError("give a reply or the fields of its content, not both")
        if callable(reply) and not isinstance(reply, type):
            make: Callable[[Any], Any] = reply
        else:
            fixed = content(kind, fields) if reply is None else constant(kind, reply)
            make = partial(_constant, fixed)
        self._script.add(Rule(kind, make, when, times, lane))

    def fail(
        self,
        kind: type[RequestT],
        error: ForebayError | type[ForebayError],
        *,
        when: Callable[[RequestT], bool] | None = None,
        times: int | None = None,
        lane: Lane | None = None,
    ) -> None:
        """Have requests of this kind end in an error, such as `ModelRefused`.

        A passing error (`Throttled`, `Unavailable`, `EngineBusy`) and `EngineDied` are tried again
        once: with `times=1` the second attempt is answered, without it the job ends in the error.
        The second attempt comes after the error's `retry_after`, or else after about a second in
        the local lane and a fifth of a second in the bedrock lane. Live, a job waits as long as
        its deadline allows for an engine that is busy, and for Bedrock.

        Args:
            kind: the class of the requests: `Classify`, `Extract`, ...
            error: an error of Forebay, or its class. `EngineBusy` and `EngineDied` happen in the
                local lane only.
            when: fail only requests for which this function returns true.
            times: fail only so many requests; by default all of them.
            lane: fail only in this lane; by default in both.

        Raises:
            TypeError: No job ends in this error by the work of a model; the message lists those
                that may be given.
        """
        scripted = failure(error)
        make = partial(_constant, scripted)
        self._script.add(Rule(kind, make, when, times, lane_of(scripted, lane)))

    def reset(self) -> None:
        """Forget the script and the requests, for tests that share a fleet; stored jobs stay.

        A mistake of the script since the last reset is raised; the end of the fleet would not show
        in which test it was made.
        """
        try:
            self._script.raise_mistake()
        finally:
            self._script.clear()

    def requests(self, kind: type[RequestT], *, lane: Lane | None = None) -> list[RequestT]:
        """Return the requests of this kind for which a model was asked so far.

        Args:
            kind: the class of the requests.
            lane: leave out the requests of the other lane.

        Returns:
            Each request once for each attempt; in the bedrock lane once for each call.
        """
        check_kind(kind)
        check_lane(lane)
        asked = list(self._script.requests)
        return [
            request for request, at in asked if isinstance(request, kind) and lane in (None, at)
        ]


@contextmanager
def fleet(*, policy: Path | str | None = None) -> Iterator[Fleet]:
    """Run a fleet in this process, with a Redis server of its own. It takes about 0.1 seconds.

    The first fleet of a process takes a second longer, to import Celery. Nothing of the environment
    is read, and every thread ends with the `with` statement.

    Args:
        policy: the path of a `policy.toml`, or its text, in which every key is optional; what it
            leaves out is as live, the scan for secrets (extra `secrets`) included. By default every
            job that is not pinned to Bedrock is answered locally, and no secrets are looked for.

    Raises:
        Misconfigured: The extra `testing` is not installed, or the policy is wrong.
        NotScripted: No rule of the script answers a request, and nothing simple does.
        Exception: A function of the script raised it, or a `TypeError` for what it returned.
    """
    script = Script()
    try:
        with _running(policy, script) as fleet:
            yield fleet
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # pytest.fail raises no Exception
        script.raise_mistake(after=error)
        raise
    script.raise_mistake()


@contextmanager
def _running(policy: Path | str | None, script: Script) -> Iterator[Fleet]:
    """Run a fleet; its threads have ended when the `with` statement is left."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        path = policy if isinstance(policy, Path) else server.folder / "policy.toml"
        if not isinstance(policy, Path):
            path.write_text(_policy_text(policy))
        settings = hermetic(
            Settings, redis_url=server.url, policy_file=path, sweep_s=SWEEP_S,
            max_attempts=MAX_ATTEMPTS,
        )  # fmt: skip
        with empty_environment():
            from forebay.testing.workers import start_workers  # noqa: PLC0415 - imports Celery

            start_workers(settings, script, stack)
        clients = stack.enter_context(ExitStack())
        yield Fleet(settings, script, clients)


def _policy_text(policy: str | None) -> str:
    """Return the text of the policy file. An empty file is refused, so a comment stands there."""
    if policy is None:
        return STAY_LOCAL
    return policy if policy.strip() else "# all defaults\n"


def _constant(reply: object, _: object) -> object:
    return reply

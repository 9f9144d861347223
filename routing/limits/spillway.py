"""The circuit breaker of Bedrock, shared by all workers: keys in one Redis that expire."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import redis

from forebay.routing.errors import Unavailable
from forebay.routing.lanes import BEDROCK
from forebay.routing.limits.pauses import KEY as PAUSED_KEY
from forebay.routing.logs import Event, event
from forebay.routing.policy.tables import is_local_http
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import run
from forebay.routing.store.ttl_cache import TtlCache

KEY = "fb:spillway"
#: Hash of the faults that last until a call succeeds: scope -> `Fault` as JSON.
FAULTS_KEY = "fb:spillway:faults"
#: Where the bedrock worker that started last calls Bedrock; empty for AWS itself.
ENDPOINT_KEY = "fb:spillway:endpoint"
LOOK_EVERY_S = 0.5
#: Scope of a fault of the account, which concerns every model.
ACCOUNT = "*"
#: After so many seconds a fault is probed again by one call.
PROBE_EVERY_S = 10.0
#: How long other calls wait for a probe that tells nothing while its job keeps its claim.
PROBE_S = 30.0
#: The longest wait while a fault is paused or probed: a probe that succeeds ends both early.
MAX_WAIT_S = 5.0
#: How long a fault is remembered without a call that confirms it.
KEEP_FAULTS_S = 7 * 86_400

PAUSED = "an operator has paused this model"

Gate = Literal["open", "shut"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the account or of one model, which shuts its scope until a call succeeds.

    Attributes:
        scope: `*` for the account, or the id of a model.
        code: code of the error that was seen.
        reason: the error's message, which holds no content.
        since: Unix time at which it was first seen.
    """

    scope: str
    code: str
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Admission:
    """The permission to make a call now, or the reason against it.

    Attributes:
        wait_s: seconds to wait; 0 if the call may be made.
        fault: the fault that shuts the way; of a call that may be made, the fault that it probes.
    """

    wait_s: float = 0.0
    fault: Fault | None = None


class Spillway:
    """The way to Bedrock. Beware of the words: a *shut* spillway is an *open* circuit breaker.

    1. A bedrock worker shuts it for some seconds, for all tenants or for one, if a call shows that
       further calls would fail. The key expires by itself, so nothing stays shut.
    2. A fault of the account, or of one model, is remembered until a call succeeds. It shuts the
       way for all models or for that model. After some seconds a single call probes it (half-open).
    3. For new jobs it is also shut while no worker serves the bedrock queue, or an operator has
       paused it (`pauses.py`). A model that is paused is not called.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._cached_gate = TtlCache(self._read_gate, LOOK_EVERY_S)

    def gate(self, tenant: str = "") -> Gate:
        """Return the gate for a tenant's new jobs, at most half a second old.

        It is older if Redis is away.
        """
        return self._cached_gate(tenant)

    def shut(self, code: str, for_s: float, tenant: str = "") -> None:
        """Shut the spillway for some seconds; `code` is the code of the error that was seen.

        With a `tenant`, it is shut for the jobs of this tenant alone.
        """
        self._put(f"{KEY}:of:{tenant}" if tenant else KEY, code, for_s)

    def shut_for_s(self) -> float:
        """Return the seconds until calls may be tried again; 0 while the spillway is open."""
        with reaching_redis():
            left_ms: Any = self._redis.pttl(KEY)
        return max(0.0, float(left_ms)) / 1000

    def admit(self, model: str, job_id: str, *, elsewhere: bool = False) -> Admission:
        """Return whether a call of this model may be made now, for a job that is being worked.

        A model that another service than Bedrock serves (`elsewhere`) has no part in what shuts
        Bedrock. The first job after the pause of a fault is admitted as its probe. It reports what
        it found by `fail` or `recover`; if it loses its claim before, another job probes.
        """
        scopes = (model,) if elsewhere else (ACCOUNT, model)
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.pttl(KEY)
            pipe.hexists(PAUSED_KEY, f"model:{model}")
            pipe.hmget(FAULTS_KEY, scopes)
            left_ms, paused, stored = pipe.execute()
        if paused:
            return Admission(MAX_WAIT_S, Fault(model, Unavailable.code, PAUSED, time.time()))
        faults = [_fault(scope, text) for scope, text in zip(scopes, stored, strict=True)]
        if left_ms > 0 and not elsewhere:
            return Admission(left_ms / 1000, faults[0])
        remembered = [fault for fault in faults if fault]
        return self._probe(remembered, job_id) if remembered else Admission()

    def fail(self, scope: str, code: str, reason: str, models: Collection[str] = ()) -> None:
        """Shut a scope because of a fault; log the fault once, whoever sees it first.

        A fault of the account shuts the whole spillway. So does one of the last of `models`, all
        that the policy names, that was open.
        """
        fault = Fault(scope, code, reason, time.time())
        is_new = self._run(
            "fault", FAULTS_KEY, scope, _text(fault), _pause_key(scope),
            KEY if scope == ACCOUNT else "", code, int(PROBE_EVERY_S * 1000), KEEP_FAULTS_S,
        )  # fmt: skip
        if is_new:
            _log.error(
                "Bedrock is shut for %s: %s", _named(scope), reason,
                extra=event(Event.BEDROCK_SHUT, code=code),
            )  # fmt: skip
        if models and scope != ACCOUNT and {fault.scope for fault in self.faults()} >= {*models}:
            self.shut(code, PROBE_EVERY_S)

    def recover(self, model: str, *, elsewhere: bool = False) -> None:
        """Forget the faults of the account and of this model, since a call has succeeded."""
        scopes = (model,) if elsewhere else (ACCOUNT, model)
        with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(FAULTS_KEY, *scopes)
            pipe.delete(*map(_pause_key, scopes))
            forgotten, _ = pipe.execute()
        if forgotten:
            _log.info(
                "Bedrock answers again (%s)", model, extra=event(Event.BEDROCK_OPEN, model=model)
            )

    def keep_only(self, models: Collection[str]) -> None:
        """Forget the faults of other models: nobody calls them any more, so none can recover."""
        gone = [fault.scope for fault in self.faults() if fault.scope not in {ACCOUNT, *models}]
        if gone:
            with reaching_redis():
                self._redis.hdel(FAULTS_KEY, *gone)

    def faults(self) -> list[Fault]:
        """Return the faults that are remembered, that of the account first."""
        with reaching_redis():
            stored: Any = self._redis.hgetall(FAULTS_KEY)
        faults = (_fault(scope.decode(), text) for scope, text in stored.items())
        return sorted((fault for fault in faults if fault), key=lambda fault: fault.scope)

    def announce(self, endpoint: str) -> None:
        """Tell others where this fleet calls Bedrock; empty for AWS itself."""
        self._put(ENDPOINT_KEY, endpoint)

    def endpoint(self) -> str:
        """Return what a bedrock worker has announced; empty for AWS itself, or if none has."""
        with reaching_redis():
            announced: Any = self._redis.get(ENDPOINT_KEY)
        return (announced or b"").decode()

    def is_mocked(self) -> bool:
        """Return whether the fleet calls the mock of Bedrock on its own machine: it bills no money.

        Any other endpoint, such as that of a VPC, leads to AWS.
        """
        return is_local_http(self.endpoint())

    def _probe(self, faults: list[Fault], job_id: str) -> Admission:
        """Admit one job as the probe of these faults, once their pauses have passed."""
        pauses = [_pause_key(fault.scope) for fault in faults]
        number, wait_ms = self._run("probe", job_id, int(PROBE_S * 1000), *pauses)
        return Admission(min(wait_ms / 1000, MAX_WAIT_S), faults[number])

    def _put(self, key: str, value: str, for_s: float = 0) -> None:
        """Store a value, also while Redis is full."""
        for_ms = max(1, int(for_s * 1000)) if for_s else 0
        self._run("put", key, value, for_ms)

    def _run(self, script: str, *args: Any) -> Any:
        with reaching_redis():
            return run(self._redis, script, *args)

    def _read_gate(self, tenant: str) -> Gate:
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(KEY, f"{KEY}:of:{tenant}")
            pipe.exists(_pause_key(ACCOUNT))
            pipe.hexists(PAUSED_KEY, f"lane:{BEDROCK}")
            pipe.time()
            pipe.zrange(f"fb:serving:{BEDROCK}", -1, -1, withscores=True)
            broken, probed, paused, (seconds, _), latest = pipe.execute()
        served = bool(latest) and latest[0][1] > seconds * 1000
        return "open" if served and not (broken or probed or paused) else "shut"


def _pause_key(scope: str) -> str:
    """Return the key that exists while a fault is not probed, or while its probe runs."""
    return f"fb:spillway:pause:{scope}"


def _named(scope: str) -> str:
    return "all models" if scope == ACCOUNT else scope


def _text(fault: Fault) -> str:
    return json.dumps({"code": fault.code, "reason": fault.reason, "since": fault.since})


def _fault(scope: str, text: bytes | None) -> Fault | None:
    if text is None:
        return None
    try:
        fields = json.loads(text)
        return Fault(scope, str(fields["code"]), str(fields["reason"]), float(fields["since"]))
    except (ValueError, TypeError, KeyError):
        return Fault(scope, "unknown", "a fault that another version has recorded", 0.0)

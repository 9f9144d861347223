"""How much all workers together use of a model: slots, requests and tokens a minute.

The number of calls that run at once follows the service (AIMD): it grows with each good answer, and
is halved when the service asks to slow down. A model that fails several times in a row rests, and
then one call probes it: for the tenant whose calls failed, or for all if it fails for others too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import redis

from forebay.routing.logs import Event, event
from forebay.routing.policy.tables import ModelRules
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import run

#: Calls of one model at once while the policy sets no limit.
MAX_CALLS = 256
MAX_RESTING = 100  # models that are reported as resting
_RESTING_KEY = "fb:spillway:resting"
_RESTING_FOR_ONE_KEY = "fb:spillway:resting:tenants"

_log = logging.getLogger(__name__)

Ending = Literal["ok", "throttled", "failed", "unused"]
Lacking = Literal["resting", "probing", "calls", "requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Slot:
    """The permission to make one call of a model, or the reason against it.

    Attributes:
        tokens: the tokens that were taken of the model's minute.
        wait_s: seconds until it is worth asking again; 0 if the call may be made.
        lacking: what is used up, or why the model is not called; `None` if the call may be made.
    """

    model: str
    call_id: str
    job_id: str
    token: str
    rules: ModelRules
    tokens: int
    wait_s: float = 0.0
    lacking: Lacking | None = None

    @property
    def rests(self) -> bool:
        """True if the model itself is the obstacle, not a limit of the policy."""
        return self.lacking in {"resting", "probing"}


class ModelLoad:
    """Counts the calls of all workers. Safe to share between threads.

    A slot belongs to the claim of its job: if the worker dies, the slot is free once the claim is.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def take(
        self, model: str, call_id: str, holder: tuple[str, str], rules: ModelRules, tokens: int
    ) -> Slot:
        """Take a slot for a call that will use about so many tokens; it does not wait.

        `holder` is the id of the job and the token of its claim.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        limits = (
            rules.max_calls or MAX_CALLS,
            rules.requests_per_minute or 0,
            rules.tokens_per_minute or 0,
        )
        with reaching_redis():
            reply = run(self._redis, "take_slot", model, call_id, *holder, *limits, tokens)
        if reply[0]:
            return Slot(model, call_id, *holder, rules, tokens)
        wait_s, lacking = reply[1] / 1_000, reply[2].decode()
        return Slot(model, call_id, *holder, rules, 0, wait_s, lacking)

    def give(
        self,
        slot: Slot,
        ending: Ending,
        *,
        used: int | None = None,
        retry_after: float | None = None,
    ) -> float:
        """Give a slot back once its call has ended.

        Return the seconds for which the model rests, for all tenants or for that of the call.

        Args:
            slot: what was taken.
            ending: how the call ended. Any answer of the service but a passing error is `ok`.
            used: the tokens that were used; `None` if all that were taken.
            retry_after: seconds that the service asks to wait.

        Raises:
            Unavailable: Redis cannot be reached. The slot is free once the job's claim is.
        """
        back = 0 if used is None else slot.tokens - used
        with reaching_redis():
            rest_ms, is_new, for_all = run(
                self._redis, "give_slot", slot.model, slot.call_id, slot.job_id, slot.token, ending,
                int((retry_after or 0) * 1_000), slot.rules.max_calls or MAX_CALLS, back,
            )  # fmt: skip
        rest_s = float(rest_ms) / 1_000
        if rest_s and is_new:
            whose = "" if for_all else f" for the calls of {slot.job_id.partition('.')[0]}"
            _log.warning(
                "%s rests for %.1f s%s (%s)", slot.model, rest_s, whose, ending,
                extra=event(Event.BEDROCK_RESTS, model=slot.model),
            )  # fmt: skip
        return rest_s

    def resting(self) -> dict[str, float]:
        """Return the models that rest for all tenants, and for how many seconds more."""
        return self._resting(_RESTING_KEY)

    def resting_for_tenants(self) -> dict[tuple[str, str], float]:
        """Return each model and tenant for whose calls alone it rests, and for how many seconds."""
        found = self._resting(_RESTING_FOR_ONE_KEY).items()
        named = ((name.rpartition(" "), left_s) for name, left_s in found)
        return {(model, tenant): left_s for (model, _, tenant), left_s in named}

    def _resting(self, key: str) -> dict[str, float]:
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(key, 0, MAX_RESTING - 1, withscores=True)
            now, rests = pipe.execute()
        left = {model.decode(): until_ms / 1_000 - _seconds(now) for model, until_ms in rests}
        return {model: left_s for model, left_s in left.items() if left_s > 0}

    def all_rest_s(self, models: Iterable[str], tenant: str = "") -> float:
        """Return the seconds until one of these models may be called; 0 if one may be now.

        With a `tenant`, what rests for its calls alone counts too.
        """
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for model in models:
                pipe.hget(f"fb:spillway:load:{model}", "rest_until")
                pipe.hget(f"fb:spillway:load:{model} {tenant}", "rest_until")
            now, *found = pipe.execute()
        until_ms = [float(rest or 0) for rest in found]
        rests_ms = map(max, until_ms[::2], until_ms[1::2])
        return max(0.0, min(rests_ms, default=0.0) / 1_000 - _seconds(now))


def _seconds(time: tuple[int, int]) -> float:
    return time[0] + time[1] / 1_000_000

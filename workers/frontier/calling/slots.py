"""Slots for calls: waits a moment for one, gives it back, and shuts the spillway if all rest."""

from __future__ import annotations

import time
from contextlib import suppress

import redis

from forebay.routing.errors import ForebayError, PassingError, Throttled, Unavailable
from forebay.routing.limits.quotas.model_load import Ending, ModelLoad, Slot
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import ModelRules
from forebay.routing.reasons import Reason
from forebay.routing.store.backoff import jittered
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.calling.no_answer import NoAnswer
from forebay.workers.frontier.provider import BilledFailure, ModelNotReady, Reply

#: How long a worker's thread waits for a slot. Putting the job back costs more than a short wait.
MAX_WAIT_S = 2.0


class Slots:
    """Takes and gives slots for the calls of one worker. Safe to share between threads."""

    def __init__(self, client: redis.Redis, spillway: Spillway) -> None:
        self._load = ModelLoad(client)
        self._spillway = spillway

    def take(self, call: Call, assignment: Assignment) -> Slot:
        """Return a slot, after a short wait if need be.

        Raises:
            NoAnswer: The model rests, or its limits are used up for longer.
        """
        claim, models = assignment.claim, assignment.policy.fleet.models
        rules = models.get(call.model, ModelRules())
        holder, end = (claim.id, claim.token), time.monotonic() + MAX_WAIT_S
        while True:
            slot = self._load.take(call.model, call.id, holder, rules, call.likely_tokens)
            if slot.lacking is None:
                return slot
            if slot.rests or time.monotonic() + slot.wait_s > end:
                raise _no_slot(slot)
            time.sleep(jittered(slot.wait_s))

    def give(self, slot: Slot, ending: Reply | ForebayError | None = None) -> float:
        """Give a slot back with the call's ending; return for how long the model rests.

        Without an ending no call was made. A slot that cannot be given back now is free once the
        job's claim is.
        """
        retry_after = ending.retry_after if isinstance(ending, PassingError) else None
        with suppress(Unavailable):
            return self._load.give(slot, _kind(ending), used=_used(ending), retry_after=retry_after)
        return 0.0

    def shut_if_all_rest(self, policy: Policy, code: str, tenant: str) -> None:
        """Shut the spillway for as long as every model of the policy rests.

        If some of them rest for the calls of this tenant alone, it is shut for its jobs alone.
        """
        models = policy.all_models()
        with suppress(Unavailable):
            if rest_s := self._load.all_rest_s(models):
                self._spillway.shut(code, rest_s)
            elif rest_s := self._load.all_rest_s(models, tenant):
                self._spillway.shut(code, rest_s, tenant)


def _no_slot(slot: Slot) -> NoAnswer:
    if slot.rests:
        resting = Unavailable(f"{slot.model} is {slot.lacking}", retry_after=slot.wait_s)
        return NoAnswer(resting, Reason.SPILLWAY_SHUT, another=True)
    used_up = Throttled(f"the {slot.lacking} of {slot.model} are used up", retry_after=slot.wait_s)
    return NoAnswer(used_up, Reason.AT_LIMIT, another=True)


def _kind(ending: Reply | ForebayError | None) -> Ending:
    """Return what an ending says about the model: an answer of whatever sort is a good sign."""
    if ending is None:
        return "unused"
    if isinstance(ending, Throttled) and not isinstance(ending, ModelNotReady):
        return "throttled"
    return "failed" if isinstance(ending, Unavailable) else "ok"


def _used(ending: Reply | ForebayError | None) -> int | None:
    """Return the tokens that a call used; `None` if unknown."""
    if isinstance(ending, Reply | BilledFailure):
        usage = ending.usage
        return None if usage is None else usage.prompt + usage.output
    return None if isinstance(ending, Unavailable) else 0

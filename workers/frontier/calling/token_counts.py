"""How many tokens a prompt has, as the service itself counts them. That costs nothing."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from forebay.routing.books.egress_entry import COUNT, Leaving
from forebay.routing.books.egress_log import EgressLog, content_digest
from forebay.routing.errors import ForebayError
from forebay.routing.logs import Event, event
from forebay.workers.engines.engine import JsonSchema, Prompt
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.calling.providers import Providers
from forebay.workers.frontier.terms import Terms

N = TypeVar("N", int, float)

MAX_COUNTS = 4_096  # remembered of one worker process
#: How long a model is not asked to count for a tenant after it failed to: perhaps for what the
#: tenant's prompt says.
REST_S = 300.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """The prompt of a call that is planned, and for whom."""

    assignment: Assignment
    model: str
    prompt: Prompt
    terms: Terms
    most_tokens: int


class TokenCounts:
    """Counts tokens by the providers of one worker. Safe to share between threads.

    The same prompt is counted once. A count is written into the egress log before it is asked for.
    """

    def __init__(self, providers: Providers, egress_log: EgressLog, secret: bytes) -> None:
        self._providers = providers
        self._egress_log = egress_log
        self._secret = secret
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._rests_until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def count(self, asked: Question) -> int | None:
        """Return the most tokens a prompt can be billed for; `None` if they cannot be counted."""
        base, can = asked.terms.base, asked.terms.can
        if can is None or not can.counts_tokens or asked.terms.endpoint is not None:
            return None
        whose = base, asked.assignment.job.tenant
        content = content_digest(self._secret, iter(_texts(asked.prompt)))
        with self._lock:
            if known := self._counts.get((base, content)):
                return known
            if time.monotonic() < self._rests_until.get(whose, 0):
                return None
        counted = self._ask(asked, content)
        with self._lock:
            if counted is None:
                _put(self._rests_until, whose, time.monotonic() + REST_S)
            else:
                _put(self._counts, (base, content), counted)
        return counted

    def _ask(self, asked: Question, content: str) -> int | None:
        provider = self._providers.of(asked.terms)
        try:
            self._egress_log.append(_leaving(asked, provider.region, content))
            return provider.count(asked.prompt, asked.terms.base, asked.terms)
        except ForebayError as error:
            _log.warning(
                "prompts of %s for %s are not counted for %.0f s; their bytes bound them: %s",
                asked.assignment.job.tenant, asked.model, REST_S, error,
                extra=event(Event.BEDROCK_UNCOUNTED, model=asked.model),
            )  # fmt: skip
            return None


def _put(known: OrderedDict[tuple[str, str], N], key: tuple[str, str], value: N) -> None:
    """Remember a value; forget the oldest if there are too many."""
    known[key] = value
    if len(known) > MAX_COUNTS:
        known.popitem(last=False)


def _leaving(asked: Question, region: str, content: str) -> Leaving:
    assignment = asked.assignment
    return Leaving(
        call=f"{COUNT}-{secrets.token_hex(16)}",
        job=assignment.job.id,
        kind=assignment.job.kind,
        model=asked.model,
        region=region,
        tokens=asked.most_tokens,
        content=content,
        said=assignment.job.egress,
        policy=assignment.policy.version,
        why=",".join(assignment.claim.record.reasons),
        purpose=COUNT,
    )


def _texts(prompt: Prompt) -> list[str]:
    schema = prompt.constraint
    form = [json.dumps(schema.schema_)] if isinstance(schema, JsonSchema) else []
    return [turn.content for turn in prompt.messages] + form

"""How many tokens a prompt has, as the service itself counts them. That costs nothing."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from forebay.routing.books.egress_entry import COUNT, Leaving
from forebay.routing.books.egress_log import EgressLog, content_digest
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.logs import Event, event
from forebay.routing.policy.policy_file import Policy
from forebay.workers.engines.engine import JsonSchema, Prompt
from forebay.workers.frontier.calling.providers import Providers
from forebay.workers.frontier.terms import Terms

MAX_COUNTS = 4_096  # remembered of one worker process
#: How long a model is not asked to count after it failed to.
REST_S = 300.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """The prompt of a call that is planned, and for whom."""

    claim: Claim
    job: Job
    rules: Policy
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
        self._rests_until: dict[str, float] = {}

    def count(self, asked: Question) -> int | None:
        """Return the most tokens a prompt can be billed for; `None` if they cannot be counted."""
        base, can = asked.terms.base, asked.terms.can
        if can is None or not can.counts_tokens or asked.terms.endpoint is not None:
            return None
        content = content_digest(self._secret, iter(_texts(asked.prompt)))
        with self._lock:
            if known := self._counts.get((base, content)):
                return known
            if time.monotonic() < self._rests_until.get(base, 0):
                return None
        counted = self._ask(asked, content)
        with self._lock:
            if counted is None:
                self._rests_until[base] = time.monotonic() + REST_S
            else:
                self._counts[base, content] = counted
                if len(self._counts) > MAX_COUNTS:
                    self._counts.popitem(last=False)
        return counted

    def _ask(self, asked: Question, content: str) -> int | None:
        provider = self._providers.of(asked.terms)
        try:
            self._egress_log.append(_leaving(asked, provider.region, content))
            return provider.count(asked.prompt, asked.terms.base, asked.terms)
        except ForebayError as error:
            _log.warning(
                "tokens of prompts for %s are not counted for %.0f s; the bytes bound them: %s",
                asked.model, REST_S, error,
                extra=event(Event.BEDROCK_UNCOUNTED, model=asked.model),
            )  # fmt: skip
            return None


def _leaving(asked: Question, region: str, content: str) -> Leaving:
    return Leaving(
        call=f"{COUNT}-{secrets.token_hex(16)}",
        job=asked.job.id,
        kind=asked.job.kind,
        model=asked.model,
        region=region,
        tokens=asked.most_tokens,
        content=content,
        said=asked.job.egress,
        policy=asked.rules.version,
        why=",".join(asked.claim.record.reasons),
        purpose=COUNT,
    )


def _texts(prompt: Prompt) -> list[str]:
    schema = prompt.constraint
    form = [json.dumps(schema.schema_)] if isinstance(schema, JsonSchema) else []
    return [turn.content for turn in prompt.messages] + form

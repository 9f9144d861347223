"""Bedrock as a provider, through boto3's Converse.

A call is made once: botocore's retries are off, because a repeated call is a second bill. Every
ending is either a `Reply`, which is billed, or an error for which `billed` tells the bill.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as boto

from forebay.routing.errors import BadAnswer, ForebayError
from forebay.workers.engines.engine import Prompt, TakeText
from forebay.workers.frontier.bedrock.bounded_client import bounded_client
from forebay.workers.frontier.bedrock.converse_errors import (
    from_response,
    from_setup,
    without_response,
)
from forebay.workers.frontier.bedrock.converse_reply import keep_body, read_reply, whole_body
from forebay.workers.frontier.bedrock.converse_request import (
    bounds,
    converse_request,
    count_request,
    enforces,
    uncounted,
)
from forebay.workers.frontier.bedrock.converse_stream import keep_stream, streamed_body
from forebay.workers.frontier.provider import AccountFault, Provider, Reply
from forebay.workers.frontier.responses.bounded_body import MAX_BODY_BYTES
from forebay.workers.frontier.sending.stops import ended, until_stop
from forebay.workers.frontier.settings import BedrockSettings, call_limit_s
from forebay.workers.frontier.terms import PLAIN, Terms

COUNT_TIMEOUT_S = 10.0  # of silence, while tokens are counted


class Converse(Provider):
    """Calls models on Bedrock. Safe to share between threads; connects on the first call."""

    def __init__(self, settings: BedrockSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._calling = settings.bedrock_timeout_s
        self._counting = min(COUNT_TIMEOUT_S, settings.bedrock_timeout_s)
        self._clients: dict[float, Any] = {}  # by their time-out

    @property
    def term_s(self) -> float:
        """Seconds after which a call of unknown outcome has ended on Bedrock's side too."""
        return self._settings.bedrock_term_s

    @property
    def region(self) -> str:
        """The AWS region, and the host of the endpoint if one is set."""
        settings, endpoint = self._settings, urlsplit(self._settings.bedrock_endpoint or "")
        host = ":".join(str(part) for part in (endpoint.hostname, endpoint.port) if part)
        return f"{settings.bedrock_region} at {host}" if host else settings.bedrock_region

    def bounds(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> tuple[int, int]:
        """Return the most tokens a call can be billed for: of its prompt, and of its answer."""
        return bounds(prompt, model, terms)

    def count(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> int:
        """Return the most tokens the prompt can be billed for, by Bedrock's CountTokens."""
        ending = self._count(count_request(prompt, model, terms))
        if isinstance(ending, ForebayError):
            raise ending  # as in `call`
        return ending + uncounted(prompt, model, terms)

    def _count(self, request: dict[str, Any]) -> int | ForebayError:
        model = request["modelId"]
        try:
            counted = self._client(self._counting).count_tokens(**request)["inputTokens"]
        except boto.ClientError as error:
            return from_response(error, model)
        except Exception as error:  # noqa: BLE001 - as in `_ask`; nothing is billed
            return without_response(error, model)
        if not isinstance(counted, int) or counted < 1:
            return BadAnswer("Bedrock counts no tokens of the prompt")
        return counted

    def call(
        self,
        prompt: Prompt,
        model: str,
        *,
        call_id: str,
        terms: Terms = PLAIN,
        on_text: TakeText | None = None,
    ) -> Reply:
        """Ask a model once and block until it has answered. `Provider.call` lists the errors.

        Bedrock enforces a `JsonSchema` if the model has structured output. A `Choice` or `Pattern`
        is left to the prompt's words and to the checks of the answer.
        """
        request = converse_request(prompt, model, call_id, terms)
        can = terms.capabilities(terms.base or model)
        ending = self._ask(request, terms, until_stop(on_text, prompt, can))
        if isinstance(ending, AccountFault):
            self._forget_client()
        if isinstance(ending, ForebayError):
            # Raised here and not where it was caught, so that no error report can walk from it
            # to the foreign error, which may quote the request.
            raise ending
        return replace(ended(ending, prompt, can), enforced=enforces(request))

    def _ask(
        self, request: dict[str, Any], terms: Terms, on_text: TakeText | None
    ) -> Reply | ForebayError:
        model, began = request["modelId"], time.monotonic()
        try:
            client = self._client(self._calling)
        except Exception as error:  # noqa: BLE001 - of boto3, or of a plug-in of it
            return from_setup(error, model)
        try:
            if on_text is None:
                response = client.converse(**request)
                body = whole_body(response)
            else:
                response = client.converse_stream(**request)
                body = streamed_body(response, model, on_text)
            return read_reply(response, body, (model, terms.tier), time.monotonic() - began)
        except boto.ClientError as error:
            return from_response(error, model)
        except ForebayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever broke, the call may have been billed
            return without_response(error, model)

    def _forget_client(self) -> None:
        """Have the next call read the credentials again; a client of boto3 keeps its own."""
        with self._lock:
            self._clients.clear()

    def _client(self, timeout_s: float) -> Any:
        with self._lock:
            if timeout_s not in self._clients:
                self._clients[timeout_s] = _connect(self._settings, timeout_s)
            return self._clients[timeout_s]


def _connect(settings: BedrockSettings, timeout_s: float) -> Any:
    client = bounded_client(
        "bedrock-runtime",
        settings.bedrock_region,
        settings.bedrock_endpoint,
        silent_s=timeout_s,
        within_s=call_limit_s(timeout_s),
        most_bytes=MAX_BODY_BYTES,
        max_pool_connections=settings.bedrock_concurrency + settings.shared_threads,
        tcp_keepalive=True,
    )
    client.meta.events.register("before-parse.bedrock-runtime.Converse", keep_body)
    client.meta.events.register("before-parse.bedrock-runtime.ConverseStream", keep_stream)
    return client

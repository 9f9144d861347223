"""OpenAI's chat completions as a provider. A call is made once; no redirect is followed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import urllib3

from forebay.routing.books.egress_entry import ENDPOINT
from forebay.routing.errors import ForebayError
from forebay.routing.policy.tables import Endpoint
from forebay.workers.engines.engine import Prompt, TakeText
from forebay.workers.frontier.openai.chat_errors import Names, from_exception, from_response
from forebay.workers.frontier.openai.chat_reply import (
    read_reply,
    streamed_body,
    whole_body,
)
from forebay.workers.frontier.openai.chat_request import bounds, chat_request
from forebay.workers.frontier.provider import STAND_IN_MARK, ModelFault, Provider, Reply
from forebay.workers.frontier.responses.bounded_body import BoundedBody
from forebay.workers.frontier.responses.time_limit import LimitedPool, LimitedTlsPool, TimeLimit
from forebay.workers.frontier.sending.stops import ended, until_stop
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.frontier.terms import PLAIN, Terms

CONNECT_TIMEOUT_S = 5
_OK = 200


class ChatCompletions(Provider):
    """Calls the models of one endpoint. Safe to share between threads."""

    def __init__(self, settings: BedrockSettings, name: str, endpoint: Endpoint) -> None:
        """`name` is the endpoint's in the policy."""
        self._settings = settings
        self._name = name
        self._endpoint = endpoint
        self._pool = urllib3.PoolManager(
            maxsize=settings.bedrock_concurrency,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=settings.bedrock_timeout_s),
            retries=False,
        )
        self._pool.pool_classes_by_scheme = {"http": LimitedPool, "https": LimitedTlsPool}

    @property
    def term_s(self) -> float:
        """Seconds after which a call of unknown outcome has ended on the service's side too."""
        return self._settings.bedrock_term_s

    @property
    def region(self) -> str:
        """The endpoint's name and its host, marked as no region of AWS."""
        return f"{ENDPOINT}{self._name} at {urlsplit(self._endpoint.url).netloc}"

    def bounds(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> tuple[int, int]:
        """Return the most tokens a call can be billed for: of its prompt, and of its answer."""
        return bounds(prompt, model, terms)

    def count(self, prompt: Prompt, model: str, terms: Terms = PLAIN) -> None:
        """Return `None`: chat completions have no way to count tokens."""

    def call(
        self,
        prompt: Prompt,
        model: str,
        *,
        call_id: str,
        terms: Terms = PLAIN,
        on_text: TakeText | None = None,
    ) -> Reply:
        """Ask a model once and block until it has answered. `Provider.call` lists the errors."""
        own_name = model.removeprefix(f"{self._name}/")
        named = replace(terms, base=terms.base or model)
        can = named.capabilities(model)
        take = until_stop(on_text, prompt, can)
        body = chat_request(prompt, own_name, self._endpoint, named, stream=take is not None)
        ending = self._ask(body, model, call_id, terms, take)
        if isinstance(ending, ForebayError):
            # Raised here and not where it was caught, so that no error report can walk from it
            # to the foreign error.
            raise ending
        return replace(ended(ending, prompt, can), enforced="response_format" in body)

    def _ask(
        self,
        body: dict[str, Any],
        model: str,
        call_id: str,
        terms: Terms,
        on_text: TakeText | None,
    ) -> Reply | ForebayError:
        names, began = Names(self._name, model, self._endpoint.key_env), time.monotonic()
        limit = TimeLimit(self._settings.bedrock_call_s)
        try:
            with limit.sending():
                response = self._post(body, call_id)
            content = BoundedBody(response, limit)
            try:
                found = _body(response, content, names, on_text)
            except BaseException:
                content.close()
                raise
            limit.end()
            response.release_conn()
            stand_in = response.headers.get(STAND_IN_MARK) == "1"
            latency_s = time.monotonic() - began
            return read_reply(found, (model, terms.tier), stand_in=stand_in, latency_s=latency_s)
        except ForebayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever broke, the call may have been billed
            return from_exception(error, names, late=limit.is_over)

    def _post(self, body: dict[str, Any], call_id: str) -> urllib3.BaseHTTPResponse:
        """Send a request and return its response, of which the head has come.

        Raises:
            ModelFault: There is no key.
        """
        headers = {"content-type": "application/json", "x-client-request-id": call_id}
        if variable := self._endpoint.key_env:
            key = os.environ.get(variable, "").strip()
            if not key:
                raise ModelFault(f"holds no key for the endpoint {self._name}", field=variable)
            headers["authorization"] = f"Bearer {key}"
        return self._pool.request(
            "POST",
            f"{self._endpoint.url}/chat/completions",
            body=json.dumps(body).encode(),
            headers=headers,
            redirect=False,
            preload_content=False,
        )


def _body(
    response: urllib3.BaseHTTPResponse, content: BoundedBody, names: Names, on_text: TakeText | None
) -> dict[str, Any]:
    """Return the body of an answer; raise our error if the response is none."""
    chunks = content.stream()
    if response.status != _OK:
        raise from_response(response.status, b"".join(chunks), response.headers, names)
    if on_text is None or "event-stream" not in response.headers.get("content-type", ""):
        return whole_body(b"".join(chunks))
    return streamed_body(_lines(chunks), on_text)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream as they come."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        if b"\n" in chunk:
            *lines, rest = rest.split(b"\n")
            yield from map(bytes, lines)
    yield bytes(rest)

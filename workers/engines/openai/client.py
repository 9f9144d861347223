"""HTTP to the model server: the only file of this engine that imports httpx2.

No proxy of the environment is used and no redirect is followed, so contents of jobs go to the
address that was checked and nowhere else. No message of the server is passed on, since it may quote
a job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from forebay.routing.errors import EngineBusy, InvalidJob, Misconfigured, Unavailable
from forebay.workers.engines.openai.address import FIELD, ServerAddress

try:
    import httpx2
except ImportError:
    message = "the openai engine needs a package: install the extra `openai`"
    raise Unavailable(message) from None

_CONNECT_S = 10.0
_MAX_ERROR_BYTES = 1 << 16  # of a refusal that is read for its numbers
_RETRY_S = 1.0
_KEY = "FOREBAY_OPENAI_KEY_FILE"
_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 422}
_SPEAKS_OF_CONTEXT = re.compile(
    r"context.{0,10}(?:length|size|window)|max_(?:model|seq)_len", re.IGNORECASE
)
_PROMPT_TOKENS = re.compile(
    r"(\d+) input tokens|(\d+) in the messages|resulted in (\d+) tokens|request \((\d+) tokens"
)

for _name in ("httpx2", "httpcore2"):  # their lines hold headers, and one comes with each request
    logging.getLogger(_name).setLevel(logging.WARNING)


class TooLongForServer(InvalidJob):
    """The server refuses a prompt as longer than its context, or with the answer that it may get.

    Attributes:
        tokens: tokens of the prompt; `None` if the server does not say.
    """

    def __init__(self, tokens: int | None) -> None:
        super().__init__("is longer than the server's context", field="messages")
        self.tokens = tokens


@dataclass(frozen=True)
class ServerClient:
    """A client of one server.

    Attributes:
        address: where the server is.
        headers: the headers of each request, among them the key.
        connections: how many may be open at once.
        quiet_s: seconds within which a document comes, and the next chunk of an answer, however
            many bytes come meanwhile.
    """

    address: ServerAddress
    headers: Mapping[str, str]
    connections: int
    quiet_s: float

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenClient]:
        """Open the connections, and close them at the end of the block."""
        async with httpx2.AsyncClient(
            base_url=self.address.url,
            headers={**self.headers, "host": self.address.host},
            timeout=httpx2.Timeout(None, connect=_CONNECT_S),
            # A server may close a kept connection just when the next request is sent on it.
            limits=httpx2.Limits(max_connections=self.connections, max_keepalive_connections=0),
            trust_env=False,
            follow_redirects=False,
        ) as client:
            yield OpenClient(client, {"sni_hostname": self.address.name}, self.quiet_s)


@dataclass(frozen=True)
class OpenClient:
    """Open connections to a server."""

    http: httpx2.AsyncClient
    extensions: dict[str, Any]
    quiet_s: float

    async def get(self, path: str) -> Any:
        """Return a JSON document; `None` if the server has none there.

        Raises:
            Misconfigured: The server refuses the key, or redirects.
            Unavailable: The server cannot be reached, or fails, or takes too long.
        """
        try:
            async with asyncio.timeout(self.quiet_s):
                answer = await self.http.get(path, extensions=self.extensions)
            if answer.status_code == HTTPStatus.NOT_FOUND:
                return None
            _check(answer.status_code)
            return answer.json()
        except httpx2.HTTPError as error:
            raise _unreachable(error) from None
        except TimeoutError:
            words = f"the server has not answered within {self.quiet_s:g} s"
            raise Unavailable(words, field=FIELD) from None
        except ValueError:
            raise Misconfigured("answers with something else than JSON", field=FIELD) from None
        except (InvalidJob, EngineBusy) as error:
            raise Unavailable(f"the server refuses a question: {error.message}") from None

    async def chat(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the chunks of an answer; if the caller stops, the connection is closed.

        Raises:
            TooLongForServer: The prompt is longer than the server's context.
            InvalidJob: The server refuses the request.
            EngineBusy: The server has no room for the request now, or sends no next chunk in time.
            Misconfigured: The server refuses the key, or redirects, or does not know the model.
            Unavailable: The server cannot be reached any more.
        """
        asked = self.http.stream("POST", "chat/completions", json=body, extensions=self.extensions)
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self.quiet_s):
                    answer = await stack.enter_async_context(asked)
                    if answer.status_code != HTTPStatus.OK:
                        _check(answer.status_code, await _start_of(answer))
                lines = answer.aiter_lines()
                while (data := await self._next(lines)) is not None:
                    yield _chunk(data)
        except httpx2.HTTPError as error:
            raise _unreachable(error) from None
        except TimeoutError:
            words = f"the server has sent no part of an answer for {self.quiet_s:g} s"
            raise EngineBusy(words, retry_after=_RETRY_S) from None

    async def _next(self, lines: AsyncIterator[str]) -> str | None:
        """Return the data of the next chunk in time; `None` at the end."""
        async with asyncio.timeout(self.quiet_s):
            async for line in lines:
                if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]":
                    return data
        return None


async def _start_of(answer: httpx2.Response) -> bytes:
    start = b""
    async for block in answer.aiter_bytes():
        start += block
        if len(start) > _MAX_ERROR_BYTES:
            break
    return start


def _chunk(data: str) -> dict[str, Any]:
    """Return a chunk of an answer; an error in the stream becomes ours."""
    try:
        chunk = json.loads(data)
    except ValueError:
        raise Unavailable("the server sent a chunk that is not JSON") from None
    if not isinstance(chunk, dict) or "error" in chunk:
        code = chunk["error"].get("code") if isinstance(chunk, dict) and chunk["error"] else None
        _check(code if isinstance(code, int) else HTTPStatus.INTERNAL_SERVER_ERROR, data.encode())
    return dict(chunk)


def _check(status: int, body: bytes = b"") -> None:
    """Raise the error that a status means."""
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status < HTTPStatus.BAD_REQUEST:
        raise Misconfigured("redirects, which is not followed: name the server itself", field=FIELD)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise Misconfigured("the server refuses the key, or wants one", field=_KEY)
    if status == HTTPStatus.NOT_FOUND:
        hint = "its path must end as the server's API does, mostly in /v1"
        raise Misconfigured(f"has no chat/completions for this model; {hint}", field=FIELD)
    if status in _REFUSED:
        raise _refusal(body)
    raise EngineBusy(f"the server answered {int(status)}", retry_after=_RETRY_S)


def _refusal(body: bytes) -> InvalidJob:
    text = body.decode(errors="replace")
    if not _SPEAKS_OF_CONTEXT.search(text):
        return InvalidJob("is refused by the server", field="messages")
    found = _PROMPT_TOKENS.search(text)
    return TooLongForServer(int(next(filter(None, found.groups()))) if found else None)


def _unreachable(error: httpx2.HTTPError) -> Unavailable:
    return Unavailable(f"the server cannot be reached ({type(error).__name__})", field=FIELD)

"""Posts an event: one request over one connection to one address. No redirect is followed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from urllib.parse import urlsplit

import h11

from forebay.producers.gateway.webhooks.addresses import Network, NotAllowed, address_of, port_of

TIMEOUT_S = 15.0  # for the whole exchange
MAX_HEAD_BYTES = 32 * 1024  # of a response; its body is not read
READ_BYTES = 8 * 1024


class NotDelivered(Exception):
    """An event could not be posted; the message says why, in our own words."""


async def post(
    url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[Network]
) -> int:
    """Post a body; return the status of the response.

    Args:
        url: where to post.
        body: the body.
        headers: besides those that the connection needs.
        networks: the networks that may be called although they are not public.

    Raises:
        NotDelivered: There was no response, or the address may not be called.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _exchange(url, body, headers, networks)
    except NotAllowed as error:
        raise NotDelivered(str(error)) from None
    except TimeoutError:
        raise NotDelivered(f"no response within {TIMEOUT_S:g} s") from None
    except ssl.SSLError as error:
        raise NotDelivered(f"TLS failed: {error.reason or 'no certificate is trusted'}") from None
    except (OSError, h11.ProtocolError) as error:
        raise NotDelivered(f"the connection failed: {type(error).__name__}") from None


async def _exchange(
    url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[Network]
) -> int:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    address = await address_of(url, networks)
    reader, writer = await asyncio.open_connection(
        str(address), port_of(parts), ssl=_tls() if secure else None,
        server_hostname=host if secure else None,
    )  # fmt: skip
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        name = f"[{host}]" if ":" in host else host
        sent = {
            "host": name if parts.port is None else f"{name}:{parts.port}",
            "content-length": str(len(body)), "connection": "close", **headers,
        }  # fmt: skip
        request = h11.Request(method="POST", target=target, headers=list(sent.items()))
        return await _asked(reader, writer, request, body)
    finally:
        writer.transport.abort()


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes
) -> int:
    """Send a request, and return the status of its response."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    for sent in (request, h11.Data(body), h11.EndOfMessage()):
        writer.write(connection.send(sent) or b"")
    await writer.drain()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response):
            return event.status_code
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("no response")


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()

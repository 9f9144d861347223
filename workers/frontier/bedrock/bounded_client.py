"""Bounds what a client of boto3 takes: boto3 reads a response whole, however long it is."""

from __future__ import annotations

from functools import partial
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSResponse,
)

from forebay.workers.frontier.responses.bounded_body import BoundedBody
from forebay.workers.frontier.responses.time_limit import Limited, TimeLimit


def bound(client: Any, within_s: float, most_bytes: int) -> Any:
    """Bound each response of a client: the seconds until its end, and its bytes.

    botocore has no public way to give its connections a class, so this uses two private names of
    it; a test holds them.
    """
    session = client._endpoint.http_session  # noqa: SLF001 - see above
    session._pool_classes_by_scheme.update(  # noqa: SLF001 - see above
        http=_Pool, https=_TlsPool
    )
    client.meta.events.register("before-send", partial(_send, session, within_s, most_bytes))
    return client


def _send(
    session: Any, within_s: float, most_bytes: int, request: AWSPreparedRequest, **_: object
) -> AWSResponse:
    """Send a request in place of botocore (handler of `before-send`)."""
    limit = TimeLimit(within_s)
    request.stream_output = True  # the session leaves the body to us
    with limit.sending():
        response = session.send(request)
    body = BoundedBody(response.raw, limit, most_bytes)
    return AWSResponse(response.url, response.status_code, response.headers, body)


class _Connection(Limited, AWSHTTPConnection):  # type: ignore[misc]  # botocore has no types
    pass


class _TlsConnection(Limited, AWSHTTPSConnection):  # type: ignore[misc]  # botocore has no types
    pass


class _Pool(AWSHTTPConnectionPool):  # type: ignore[misc]  # botocore has no types
    ConnectionCls = _Connection


class _TlsPool(AWSHTTPSConnectionPool):  # type: ignore[misc]  # botocore has no types
    ConnectionCls = _TlsConnection

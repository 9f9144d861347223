"""Clients of boto3 that are bounded: boto3 reads a response whole, however long it is."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import boto3
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSResponse,
)
from botocore.config import Config

from forebay.workers.frontier.responses.bounded_body import BoundedBody
from forebay.workers.frontier.responses.time_limit import Limited, TimeLimit

CONNECT_TIMEOUT_S = 5


def bounded_client(
    service: str,
    region: str,
    endpoint: str | None,
    *,
    silent_s: float,
    within_s: float,
    most_bytes: int,
    attempts: int = 1,
    **config: Any,
) -> Any:
    """Return a client of boto3, each response of which is bounded.

    Args:
        service: as boto3 names it.
        region: the region of AWS.
        endpoint: a URL in place of AWS's own.
        silent_s: seconds of silence after which a request is given up.
        within_s: seconds within which a response ends.
        most_bytes: of a response.
        attempts: of one request.
        config: further settings of botocore.
    """
    # At DEBUG botocore logs whole requests, which hold content.
    logging.getLogger("botocore").setLevel(logging.INFO)
    settings = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=silent_s,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        **config,
    )
    client = boto3.session.Session().client(
        service, region_name=region, endpoint_url=endpoint, config=settings
    )
    # botocore has no public way to give its connections a class; a test holds these two names.
    session = client._endpoint.http_session  # noqa: SLF001 - see above
    pools = session._pool_classes_by_scheme  # noqa: SLF001 - see above
    pools.update(http=_Pool, https=_TlsPool)
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

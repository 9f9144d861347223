"""Run the gateway: one process or several behind one address, until a signal ends it."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import tempfile
from contextlib import ExitStack

import uvicorn

from forebay.producers.gateway.access import is_loopback
from forebay.producers.gateway.server.connection import Connection
from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.status.settings import StatusSettings
from forebay.routing.errors import Misconfigured
from forebay.routing.log_lines.line_handler import to_stderr
from forebay.routing.settings import read, read_settings

APPLICATION = "forebay.producers.gateway.server.app:application"


def serve(host: str, port: int, processes: int) -> None:
    """Serve until a signal ends the gateway.

    On SIGTERM and Ctrl-C it takes no more requests, and gives those in flight
    `FOREBAY_GATEWAY_GRACE_S` to finish. Their jobs go on in any case.

    Raises:
        Misconfigured: A setting is wrong, the gateway would be open to the network without keys, or
            the address is taken.
    """
    to_stderr(logging.INFO)  # lines of uvicorn have the format of all others
    settings, shown = read(GatewaySettings), read(StatusSettings)
    read_settings()  # a mistake is one error here, and not a traceback of every process
    check_open(settings, host)
    check_free(host, port)
    with ExitStack() as stack:
        if processes > 1:
            _share_figures(stack)
            if shown.status_secret is None:  # the processes take each other's cookies
                os.environ["FOREBAY_STATUS_SECRET"] = secrets.token_hex(32)
        uvicorn.run(
            APPLICATION, factory=True, host=host, port=port, workers=processes,
            http=Connection, access_log=False,
            timeout_graceful_shutdown=int(settings.gateway_grace_s),
            log_config=None, log_level="info", server_header=False, date_header=False,
        )  # fmt: skip


def check_open(settings: GatewaySettings, host: str) -> None:
    """Refuse to serve without keys on an address that others can reach.

    Raises:
        Misconfigured: The address is not loopback.
    """
    if settings.gateway_tenant is not None and not is_loopback(host):
        words = "lets everybody in who reaches the gateway: remove it, or serve on 127.0.0.1"
        raise Misconfigured(words, field="FOREBAY_GATEWAY_TENANT")


def check_free(host: str, port: int) -> None:
    """Refuse an address that nothing can listen on.

    Raises:
        Misconfigured: The port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        words = f"cannot listen on {host}:{port} ({os.strerror(error.errno or 0)})"
        raise Misconfigured(f"{words}: choose another --port or --host", field="serve") from None


def _share_figures(stack: ExitStack) -> None:
    """Have the processes count into files of one folder, so that each can show all figures."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-gateway-"))
    os.environ["FOREBAY_GATEWAY_METRICS_DIR"] = os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder

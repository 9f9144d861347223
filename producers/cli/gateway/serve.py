"""The command `forebay serve`: the HTTP gateway."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from forebay.producers.cli import display
from forebay.producers.cli.clients import current_tenant
from forebay.producers.cli.options import TenantName
from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.options import Json, flag, option, ungrouped

app = ungrouped()

Host = Annotated[str, option("--host", "ADDRESS", "The address to listen on.")]
Port = Annotated[
    int, option("--port", "PORT", "The port; 0 takes any free port.", min=0, max=65_535)
]
Processes = Annotated[
    int, option("--processes", "N", "How many processes answer requests.", min=1, max=64)
]
WithoutKeys = Annotated[
    bool,
    flag(
        "--without-keys",
        "Take no API keys: every request is the tenant's (--tenant). On loopback only.",
    ),
]

StatusOnly = Annotated[bool, flag("--status-only", "Serve the status page, and take no jobs.")]


@app.command()
def serve(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    processes: Processes = 1,
    without_keys: WithoutKeys = False,
    status_only: StatusOnly = False,
    tenant: TenantName = None,
    as_json: Json = False,
) -> None:
    """Serve the fleet over HTTP.

    The wire formats are OpenAI's, Anthropic's and our own. Callers need an API key: `forebay keys
    create` makes one. The status page is at /status. Other settings are FOREBAY_GATEWAY_* and
    FOREBAY_STATUS_*.
    """
    try:
        from forebay.producers.gateway.server.serve import serve  # noqa: PLC0415 - an extra
    except ImportError as error:
        hint = f"needs the module {error.name}, which is missing: install the extra `gateway`"
        raise Misconfigured(hint, field="serve") from None
    if without_keys:
        os.environ["FOREBAY_GATEWAY_TENANT"] = current_tenant(tenant)
    elif tenant is not None:
        raise typer.BadParameter("--tenant belongs to --without-keys: a key has its own tenant")
    if status_only:
        os.environ["FOREBAY_STATUS_ONLY"] = "true"
    if as_json:
        display.document({"host": host, "port": port, "processes": processes})
    serve(host, port, processes)

"""The client that a command of the command line speaks through, and whose it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from forebay.routing.errors import UnknownJob

if TYPE_CHECKING:
    from forebay.producers.client import Client


@contextmanager
def client_of(tenant: str, patience: float | None = None) -> Iterator[Client]:
    """A client of this tenant, closed in the end. Slow to import, so imported only here."""
    from forebay.producers.client import Client  # noqa: PLC0415 - `forebay --help` answers at once

    client = Client(tenant=tenant, patience=patience or 0.0)
    try:
        yield client
    finally:
        client.close()


def tenant_of(typed: str | None, job_id: str) -> str:
    """Whose job it is: as typed, as set, or as the id itself says."""
    owner, dot, _ = job_id.partition(".")
    if not dot:
        raise UnknownJob("is not an id of a job", field="id")
    return own_tenant(typed, owner)


def own_tenant(typed: str | None, otherwise: str = "default") -> str:
    """Who is asking: as typed, or as set."""
    return typed or os.environ.get("FOREBAY_TENANT") or otherwise

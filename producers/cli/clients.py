"""The client that a command of the command line uses, and the tenant that it acts for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from forebay.routing.errors import UnknownJob

if TYPE_CHECKING:
    from forebay.producers.client import Client


@contextmanager
def open_client(tenant: str, patience: float | None = None) -> Iterator[Client]:
    """Yield a client of this tenant and close it at the end.

    Args:
        tenant: the tenant that the client acts for.
        patience: seconds for which a submit is retried while Redis is down or full.
    """
    from forebay.producers.client import Client  # noqa: PLC0415 - `forebay --help` answers at once

    client = Client(tenant=tenant, patience=patience or 0.0)
    try:
        yield client
    finally:
        client.close()


def tenant_of_job(option: str | None, job_id: str) -> str:
    """Return the tenant that asks about a job: `--tenant`, FOREBAY_TENANT, or the id's own.

    Raises:
        UnknownJob: The id does not have the form of a job id.
    """
    from forebay.routing.jobs import owner  # noqa: PLC0415 - `forebay --help` answers at once

    tenant = owner(job_id)
    if tenant is None:
        raise UnknownJob("is not a job id; `forebay submit` prints one", field="id")
    return current_tenant(option, tenant)


def current_tenant(option: str | None, default: str = "default") -> str:
    """Return the tenant that asks: `--tenant`, FOREBAY_TENANT, or the default."""
    return option or os.environ.get("FOREBAY_TENANT") or default

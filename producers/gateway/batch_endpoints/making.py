"""Makes batches and bulks of files, and lists them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.asking.options import span
from forebay.producers.gateway.batches.batch import Batch, Family, Terms
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.files.paging import Page, page_of
from forebay.producers.gateway.wire import Body
from forebay.routing.base import Egress
from forebay.routing.errors import UnknownJob

MAX_WINDOW = timedelta(days=30)
WINDOW = "24h"


class BatchOptions(Body):
    """The object `forebay` of a batch: what holds for all its requests.

    Attributes:
        egress: `allow` if the requests may leave the building; a line may say otherwise.
        max_usd: what the whole batch may cost on Bedrock.
        max_cost_usd: what one request may cost on Bedrock.
    """

    egress: Egress = "deny"
    max_usd: float | None = Field(default=None, ge=0, le=1_000_000, allow_inf_nan=False)
    max_cost_usd: float | None = Field(default=None, ge=0, le=1_000_000, allow_inf_nan=False)


def checked_window(window: str, field: str = "completion_window") -> float:
    """Return when a window that begins now ends, in seconds since 1970.

    Raises:
        InvalidRequest: The window is no span.
    """
    given = span(window)
    if given is None or not timedelta(0) < given <= MAX_WINDOW:
        words = f"must be {WINDOW}, or another span from 1s to {MAX_WINDOW.days}d"
        raise InvalidRequest(words, field=field)
    return time.time() + given.total_seconds()


def linked(by: Caller, terms: Terms, name: str) -> Batch:
    """Make a batch of a file of the tenant, which may be deleted afterwards.

    Raises:
        UnknownJob: There is no such file.
    """
    gateway = by.gateway
    try:
        content = gateway.files.content(by.tenant, terms.input_file)
    except UnknownJob as error:
        error.field = "input_file_id"
        raise
    with begun(by) as (batch_id, folder):
        os.link(content, folder / name)
        return gateway.batches.create(batch_id, gateway.files.id, terms)


@contextmanager
def begun(by: Caller) -> Iterator[tuple[str, Path]]:
    """Yield the id of a new batch and its folder, of which nothing is left if the block fails.

    Raises:
        Unavailable: The disk is full.
    """
    batch_id = by.gateway.batches.new_id(by.tenant)
    folder = by.gateway.files.batch_folder(batch_id)
    try:
        with by.gateway.files.writing():
            yield batch_id, folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def page_of_batches(
    by: Caller, family: Family, prefix: str, *, after: str, limit: int, before: str = ""
) -> Page[Batch]:
    """Return a page of the tenant's batches, the newest first.

    Raises:
        InvalidRequest: There is no batch of the cursor's id.
    """
    store = by.gateway.batches
    ids = store.ids(by.tenant, family)
    shown = [prefix + batch_id.partition(".")[2] for batch_id in ids]
    field = "after_id" if family == "anthropic" else "after"
    page = page_of(ids, shown, after, limit, before=before, field=field)
    batches = [batch for batch_id in page.items if (batch := store.find(batch_id))]
    return Page(batches, page.more, page.first_id, page.last_id)

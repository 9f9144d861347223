"""Begins a bulk, or goes on with one that another process began."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.running.manifest import Manifest, Order, folder_of
from forebay.producers.bulk.running.run import BulkRun
from forebay.producers.bulk.sources.open_source import STDIN, open_source
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.routing.bulk.bulks import ENDED, Bulks
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import owner
from forebay.routing.ledger.ledger import Ledger

SourceLike = str | PathLike[str] | Iterable[Any]
Deadline = datetime | timedelta | None


def begin(
    ledger: Ledger,
    tenant: str,
    source: SourceLike,
    *,
    out: str | PathLike[str] | None = None,
    source_format: str | None = None,
    out_format: str | None = None,
    order: Order = "input",
    deadline: Deadline = None,
    max_usd: float | None = None,
    max_cost_usd: float | None = None,
    overwrite: bool = False,
    **template: Any,
) -> BulkRun:
    """Begin a bulk.

    Args:
        ledger: where its shards wait.
        tenant: whose bulk it is.
        source: a file, a folder, `-` for standard input, or an iterable of rows.
        out: the file of the results; without it they go to a temporary file.
        source_format: the format of the source; by default by the end of its name.
        out_format: the format of the output; by default by the end of its name.
        order: `input`: results have the order of the rows; `any`: they are written as they come.
        deadline: rows that are not answered by then end as expired.
        max_usd: what the bulk may cost on Bedrock.
        max_cost_usd: what one row may cost on Bedrock.
        overwrite: replace an output that exists, and forget the bulk that wrote it.
        template: the arguments of `Template.of`.

    Raises:
        InvalidJob: An argument is wrong, or the output exists.
        Unavailable: Redis cannot be reached.
    """
    made = Template.of(tenant=tenant, **template)
    path = _out_path(out)
    folder = folder_of(path)
    _check_new(path, folder, overwrite=overwrite)
    is_file = isinstance(source, str | PathLike) and str(source) != STDIN
    folder.mkdir(parents=True, exist_ok=True)
    opened = open_source(source, format=source_format, spool=folder / "rows.spool")  # type: ignore[arg-type]  # checked there
    manifest = Manifest(
        id=f"{tenant}.{secrets.token_hex(16)}",
        tenant=tenant,
        source=str(Path(str(source)).resolve()) if is_file else "",
        source_format=source_format if is_file else _spool_format(source, source_format),
        fingerprint=opened.fingerprint() if is_file else None,
        template=made.spec,
        out=str(path),
        out_format=out_format,
        order=order,
        deadline=_timestamp(deadline),
        max_usd=max_usd,
        max_cost_usd=max_cost_usd,
    )
    try:
        made.check(opened)
        manifest.save()
        return BulkRun(ledger, manifest, opened, made, overwrite=overwrite)
    except BaseException:
        opened.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise


def resume(ledger: Ledger, tenant: str, which: str) -> BulkRun:
    """Go on with a bulk, with exactly the rows that have no result in the output.

    Args:
        ledger: where its shards wait.
        tenant: whose bulk it is.
        which: the id of the bulk, its output or its folder.

    Raises:
        UnknownJob: There is no such bulk.
        InvalidJob: The bulk has ended, its input has changed, or its folder is gone.
        Unavailable: Redis cannot be reached.
    """
    manifest = Manifest.load(_folder(ledger, which))
    if manifest.tenant != tenant:
        raise InvalidJob(f"is a bulk of tenant {manifest.tenant}", field="tenant")
    bulks = Bulks(ledger)
    if (state := bulks.state(manifest.id)) in ENDED:
        raise InvalidJob(f"the bulk is {state}; begin again with overwrite", field="bulk")
    source = _source_again(manifest)
    template = Template.of(**manifest.template)
    run = BulkRun(ledger, manifest, source, template)
    run.record = bulks.set_state(manifest.id, "running")
    return run


def _source_again(manifest: Manifest) -> Source:
    path = manifest.source or str(manifest.spool)
    source = open_source(path, format=manifest.source_format)  # type: ignore[arg-type]  # as it was
    change = manifest.fingerprint and source.changed_since(manifest.fingerprint)
    if change:
        source.close()
        raise InvalidJob(change, field=shown(path))
    return source


def _folder(ledger: Ledger, which: str) -> Path:
    """Return the folder of a bulk that is named by its id, its output or its folder."""
    if owner(which) is not None:
        return Path(str(Bulks(ledger).get(which).about.get("folder", "")))
    path = Path(which).resolve()
    return path if path.is_dir() else folder_of(path)


def _out_path(out: str | PathLike[str] | None) -> Path:
    if out is None:
        return Path(tempfile.mkdtemp(prefix="forebay-bulk-")) / "results.jsonl"
    return Path(out).resolve()


def _check_new(path: Path, folder: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists, or make room for a new one."""
    if not overwrite and (path.exists() or folder.exists()):
        what = path if path.exists() else folder
        raise InvalidJob(
            "exists: go on with --resume, or replace it with --overwrite", field=shown(what)
        )
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)


def _spool_format(source: SourceLike, given: str | None) -> str:
    return (given or "jsonl") if isinstance(source, str) else "items"


def _timestamp(deadline: Deadline) -> float | None:
    if isinstance(deadline, timedelta):
        return (datetime.now(UTC) + deadline).timestamp()
    if deadline is not None and deadline.tzinfo is None:
        raise InvalidJob("must have a time zone", field="deadline")
    return None if deadline is None else deadline.timestamp()

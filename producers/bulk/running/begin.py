"""Begins a bulk, or goes on with one that another process began."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.options import BulkOptions, Order, RowsLike
from forebay.producers.bulk.running.manifest import SPOOL, Manifest, folder_of
from forebay.producers.bulk.running.retry import failed_rows, put_in_place, rows_without_answer
from forebay.producers.bulk.running.run import BulkRun
from forebay.producers.bulk.sources.open_source import STDIN, open_source
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.routing.bulk.bulks import ENDED, Bulks
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import owner
from forebay.routing.ledger.ledger import Ledger


def begin(
    ledger: Ledger, tenant: str, source: RowsLike, options: BulkOptions, template: Mapping[str, Any]
) -> BulkRun:
    """Begin a bulk.

    Args:
        ledger: where its shards wait.
        tenant: whose bulk it is.
        source: where the rows are.
        options: see `BulkOptions`.
        template: the arguments of `Template.of`.

    Raises:
        InvalidJob: An argument is wrong, or the output exists.
        Unavailable: Redis cannot be reached.
    """
    made = Template.of(**{**template, "tenant": tenant})
    path, overwrite = _out_path(options.get("out")), options.get("overwrite", False)
    folder = folder_of(path)
    _check_order(options.get("order", "input"))
    _check_new(path, folder, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    opened: Source | None = None
    try:
        opened = _opened(source, options.get("source_format"), folder)
        made.check(opened)
        manifest = _manifest(tenant, source, opened, made, path, options)
        manifest.save()
        return BulkRun(ledger, manifest, opened, made, overwrite=overwrite)
    except BaseException:
        if opened is not None:
            opened.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _manifest(
    tenant: str,
    source: RowsLike,
    opened: Source,
    template: Template,
    out: Path,
    options: BulkOptions,
) -> Manifest:
    spooled, given = _is_spooled(source), options.get("source_format")
    return Manifest(
        id=f"{tenant}.{secrets.token_hex(16)}",
        tenant=tenant,
        source="" if spooled else str(Path(str(source)).resolve()),
        source_format=_spool_format(source, given) if spooled else given,
        fingerprint=None if spooled else opened.fingerprint(),
        template=template.spec,
        out=str(out),
        out_format=options.get("out_format"),
        order=options.get("order", "input"),
        deadline=_timestamp(options.get("deadline")),
        max_usd=options.get("max_usd"),
        max_cost_usd=options.get("max_cost_usd"),
    )


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
    manifest, bulks = find(ledger, tenant, which), Bulks(ledger)
    if (state := bulks.state(manifest.id)) in ENDED:
        raise InvalidJob(f"the bulk is {state}; begin again with overwrite", field="bulk")
    template = Template.of(**manifest.template)
    run = BulkRun(ledger, manifest, source_again(manifest), template, resumed=True)
    run.record = bulks.set_state(manifest.id, "running")
    return run


def retry(ledger: Ledger, tenant: str, which: str) -> tuple[BulkRun, Callable[[], None]]:
    """Begin a bulk of the rows of another that have no answer.

    Args:
        ledger: where the shards wait.
        tenant: whose bulk it is.
        which: the id of the other bulk, its output or its folder.

    Returns:
        The bulk, and a function that puts its results into the other's output.

    Raises:
        InvalidJob: No row failed, the bulk has not ended, or its input has changed.
    """
    manifest, bulks = find(ledger, tenant, which), Bulks(ledger)
    if bulks.state(manifest.id) == "running":
        raise InvalidJob("has not ended; `resume` goes on with it", field="bulk")
    numbers = rows_without_answer(manifest)
    if not numbers:
        raise InvalidJob("has no row without an answer", field="bulk")
    template = Template.of(**manifest.template)
    rows = failed_rows(source_again(manifest), template, numbers)
    again = manifest.folder / "retry.jsonl"
    limits: BulkOptions = {
        "out": again, "overwrite": True, "max_usd": manifest.max_usd,
        "max_cost_usd": manifest.max_cost_usd,
    }  # fmt: skip

    def at_end() -> None:
        unanswered = put_in_place(manifest, numbers, again)
        bulks.update(manifest.id, state="incomplete" if unanswered else "done")

    return begin(ledger, tenant, rows, limits, {}), at_end


def find(ledger: Ledger, tenant: str, which: str) -> Manifest:
    """Return the manifest of a bulk; see `resume` for the arguments and the errors."""
    manifest = Manifest.load(_folder(ledger, which))
    if manifest.tenant != tenant:
        raise InvalidJob(f"is a bulk of tenant {manifest.tenant}", field="tenant")
    return manifest


def source_again(manifest: Manifest) -> Source:
    """Open the source of a bulk again.

    Raises:
        InvalidJob: It has changed; the error says how.
    """
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


def _opened(source: RowsLike, form: str | None, folder: Path) -> Source:
    return open_source(source, format=form, spool=folder / SPOOL)  # type: ignore[arg-type]  # checked there


def _is_spooled(source: RowsLike) -> bool:
    return str(source) == STDIN if isinstance(source, str | PathLike) else True


def _check_order(order: str) -> None:
    if order not in get_args(Order):
        raise InvalidJob("must be input or any", field="order")


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


def _spool_format(source: RowsLike, given: str | None) -> str:
    return (given or "jsonl") if isinstance(source, str) else "items"


def _timestamp(deadline: datetime | timedelta | None) -> float | None:
    if isinstance(deadline, timedelta):
        return (datetime.now(UTC) + deadline).timestamp()
    if deadline is not None and deadline.tzinfo is None:
        raise InvalidJob("must have a time zone", field="deadline")
    return None if deadline is None else deadline.timestamp()

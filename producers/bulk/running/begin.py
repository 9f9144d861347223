"""Begins a bulk, or goes on with one that another process began."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.options import BulkOptions, RowsLike, check_options, timestamp
from forebay.producers.bulk.outputs.durable_file import being_written, is_being_written, writable
from forebay.producers.bulk.outputs.new_output import check_apart, check_name, check_new, path_of
from forebay.producers.bulk.running.manifest import SPOOL, Manifest, bad_rows_of, folder_of
from forebay.producers.bulk.running.retry import complete, failed_rows, rows_to_retry, settled
from forebay.producers.bulk.running.run import BulkRun
from forebay.producers.bulk.sources.open_source import STDIN, check_source, open_source
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.template import Template
from forebay.routing.base import NANO
from forebay.routing.bulk.bulks import ENDED, Bulks
from forebay.routing.errors import ForebayError, InvalidJob
from forebay.routing.jobs import new_id, owner
from forebay.routing.ledger.ledger import Ledger


def begin(
    ledger: Ledger,
    tenant: str,
    source: RowsLike,
    options: BulkOptions,
    template: Mapping[str, Any],
    *,
    completes: tuple[Manifest, tuple[int, ...]] | None = None,
    bulk_id: str = "",
) -> BulkRun:
    """Begin a bulk.

    Args:
        ledger: where its shards wait.
        tenant: whose bulk it is.
        source: where the rows are.
        options: see `BulkOptions`.
        template: the arguments of `Template.of`.
        completes: the bulk whose rows are answered again, and the numbers of these rows.
        bulk_id: the id of the new bulk, which nobody has used; by default a random one.

    Raises:
        InvalidJob: An argument is wrong, or the output exists.
        Unavailable: Redis cannot be reached.
    """
    made = Template.of(**{**template, "tenant": tenant})
    path = _new_out(source, options, template)
    folder, opened = folder_of(path), None
    try:
        opened = _opened(source, options.get("source_format"), folder)
        made.check(opened)
        if not _is_spooled(source):
            _check_has_rows(opened, made)
        manifest = _manifest(tenant, source, opened, made, path, options)
        manifest = replace(manifest, id=bulk_id or manifest.id)
        if completes is not None:
            first, numbers = completes
            manifest = replace(manifest, completes=str(first.folder), numbers=numbers)
        with writable(folder):
            manifest.save()
        return BulkRun(
            ledger, manifest, opened, made, overwrite=options.get("overwrite", False),
            at_end=partial(complete, ledger, manifest),
        )  # fmt: skip
    except BaseException:
        if opened is not None:
            opened.close()
        shutil.rmtree(path.parent if options.get("out") is None else folder, ignore_errors=True)
        raise


def _new_out(source: RowsLike, options: BulkOptions, template: Mapping[str, Any]) -> Path:
    """Check the options, make room for the output, and return its path."""
    check_options(options)
    check_source(source, options.get("source_format"))
    out = options.get("out")
    check_name(out, options.get("out_format"), template.get("kind"))
    path = path_of(out)
    folder = folder_of(path)
    paths = (path, folder, bad_rows_of(path))
    read = [each for each in template.values() if isinstance(each, Path)]  # labels, a schema
    read += [] if _is_spooled(source) else [Path(str(source))]
    for each in read:
        check_apart(each, paths)
    if not options.get("overwrite", False):
        check_new(paths)
    elif is_being_written(folder / "journal.jsonl"):
        raise being_written(path)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return path


def _check_has_rows(source: Source, template: Template) -> None:
    """Raise `InvalidJob` for an input without rows, before anything is written."""
    for _ in source.rows(columns=template.columns):
        return


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
        id=new_id(tenant),
        tenant=tenant,
        source="" if spooled else str(Path(str(source)).resolve()),
        source_format=_spool_format(source, given) if spooled else given,
        fingerprint=None if spooled else opened.fingerprint(),
        template=template.spec,
        out=str(out),
        out_format=options.get("out_format"),
        order=options.get("order", "input"),
        deadline=timestamp(options.get("deadline")),
        max_usd=options.get("max_usd"),
        max_cost_usd=options.get("max_cost_usd"),
    )


def resume(ledger: Ledger, tenant: str, which: str, rows: RowsLike | None = None) -> BulkRun:
    """Go on with a bulk, with exactly the rows that have no result in the output.

    Args:
        ledger: where its shards wait.
        tenant: whose bulk it is.
        which: the id of the bulk, its output or its folder.
        rows: the same input again, from its beginning, if it came from standard input or an
            iterable and was not read to its end: it is compared with what was read before, and
            skipped, while the bulk runs. Or where the input is now, if it is not where it was.

    Raises:
        UnknownJob: There is no such bulk.
        InvalidJob: The bulk has ended, its input has changed, or its folder is gone.
        Unavailable: Redis cannot be reached.
    """
    manifest, bulks = find(ledger, tenant, which), Bulks(ledger)
    if (state := bulks.state(manifest.id)) in ENDED:
        raise InvalidJob(f"the bulk is {state}; begin again with overwrite", field="bulk")
    if is_being_written(manifest.journal):
        raise _let_go_on(bulks, manifest)
    template = Template.of(**manifest.template)
    manifest, source = _with_source(manifest, rows)
    run = BulkRun(
        ledger, manifest, source, template, resumed=True, at_end=partial(complete, ledger, manifest)
    )
    run.record = bulks.set_state(manifest.id, "running")
    return run


def _with_source(manifest: Manifest, rows: RowsLike | None) -> tuple[Manifest, Source]:
    """Open the source of a bulk again; if it is gone, `rows` may name the place where it is now."""
    if not manifest.source or Path(manifest.source).exists():
        return manifest, source_again(manifest, rows)
    if rows is None or _is_spooled(rows):
        command = f"`forebay bulk run INPUT --out {shown(manifest.out)} --resume`"
        fix = f"put it back, or name where it is now: {command}, or as `rows`"
        raise InvalidJob(f"is gone: {fix}", field=shown(manifest.source))
    moved = replace(manifest, source=str(Path(str(rows)).resolve()))
    source = source_again(moved)
    moved.save()
    return moved, source


def _let_go_on(bulks: Bulks, manifest: Manifest) -> InvalidJob:
    """Let a bulk that another process feeds go on there; return the error that says so."""
    bulks.set_state(manifest.id, "running")
    error = InvalidJob("another process feeds it: it goes on there", field="bulk")
    error.job_id = manifest.id
    return error


def retry(ledger: Ledger, tenant: str, which: str, bulk_id: str = "") -> BulkRun:
    """Begin a bulk of the rows of another that failed or are degraded; at its end it replaces them.

    Args:
        ledger: where the shards wait.
        tenant: whose bulk it is.
        which: the id of the other bulk, its output or its folder.
        bulk_id: the id of the new bulk; by default a random one.

    Raises:
        InvalidJob: No row failed or is degraded, the input has changed, or the bulk or a retry of
            it has not ended.
    """
    manifest, bulks = find(ledger, tenant, which), Bulks(ledger)
    if manifest.completes:  # a retry: what it left is retried in the bulk itself
        manifest = Manifest.load(Path(manifest.completes))
    if (state := bulks.state(manifest.id)) and state not in ENDED:
        raise InvalidJob(f"is {state}: it has not ended; `resume` goes on with it", field="bulk")
    again = manifest.folder / "retry.jsonl"
    spent = settled(bulks, manifest) + _spent_by_last(bulks, folder_of(again))
    numbers = rows_to_retry(manifest)
    if not numbers:
        raise InvalidJob("has no row without an answer, and none is degraded", field="bulk")
    template = Template.of(**manifest.template)
    rows = failed_rows(source_again(manifest), template, numbers)
    limit = manifest.max_usd
    limits: BulkOptions = {
        "out": again, "overwrite": True, "max_cost_usd": manifest.max_cost_usd,
        "max_usd": None if limit is None else max(0.0, limit - spent / NANO),
    }  # fmt: skip
    completes = (manifest, tuple(numbers))
    run = begin(ledger, tenant, rows, limits, {}, completes=completes, bulk_id=bulk_id)
    with suppress(ForebayError):
        bulks.update(manifest.id, settled_nusd=spent)
    return run


def _spent_by_last(bulks: Bulks, folder: Path) -> int:
    """Return what a retry cost that was cancelled: billionths of a dollar.

    Raises:
        InvalidJob: The last retry has not ended.
    """
    try:
        last = Manifest.load(folder)
    except InvalidJob:
        return 0
    state = bulks.state(last.id)
    if state and state not in ENDED:
        raise InvalidJob(
            f"its failed rows are answered again by the bulk {last.id}: resume or cancel that",
            field="bulk",
        )
    return settled(bulks, last) if state == "cancelled" else 0


def find(ledger: Ledger, tenant: str, which: str) -> Manifest:
    """Return the manifest of a bulk; see `resume` for the arguments and the errors."""
    manifest = Manifest.load(_folder(ledger, which))
    if manifest.tenant != tenant:
        raise InvalidJob(f"is a bulk of tenant {manifest.tenant}", field="tenant")
    return manifest


def source_again(manifest: Manifest, rows: RowsLike | None = None) -> Source:
    """Open the source of a bulk again; see `resume` for `rows`.

    Raises:
        InvalidJob: It has changed, and the error says how; or `rows` are missing.
    """
    if not manifest.source and not manifest.spool.exists():
        if rows is None or not _is_spooled(rows):
            raise InvalidJob(
                "the input was not read to its end: give it again from its beginning, to "
                f"`forebay bulk run - --out {shown(manifest.out)} --resume` or as `rows`",
                field="rows",
            )
        return _opened(rows, manifest.source_format, manifest.folder)
    path = manifest.source or str(manifest.spool)
    form: Any = manifest.source_format
    source = open_source(path, format=form, name=manifest.name_of_spool)
    change = manifest.fingerprint and source.changed_since(manifest.fingerprint)
    if change:
        source.close()
        fix = "give it back its old content, or begin a new bulk"
        raise InvalidJob(f"{change.removeprefix(f'{source.name} ')}: {fix}", field=shown(path))
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


def _spool_format(source: RowsLike, given: str | None) -> str:
    return (given or "jsonl") if isinstance(source, str) else "items"

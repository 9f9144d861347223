# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The commands `forebay bulk …`: answer the rows of a file, and see how far that is."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from signal import SIGHUP, SIGTERM
from typing import TYPE_CHECKING, Any

import typer

from forebay.producers.cli import display
from forebay.producers.cli.bulk.options import (
    Bulk,
    By,
    DryRun,
    EgressColumn,
    KeyColumn,
    Kind,
    Label,
    LabelsFile,
    MaxRowUsd,
    MaxUsd,
    Order,
    Out,
    Overwrite,
    Resume,
    Rows,
    RowsFormat,
    Sample,
    SchemaFile,
    SystemForm,
    TextField,
    TextForm,
    UserForm,
    check_kind,
    goes_on,
    labels_of,
    naming_options,
    read_by,
    read_questions,
)
from forebay.producers.cli.clients import current_tenant, open_client
from forebay.producers.cli.options import (
    Choices,
    Egress,
    Focus,
    MaxTokens,
    MaxWords,
    Questions,
    QuestionsFile,
    TenantName,
)
from forebay.routing.errors import InvalidJob, counted
from forebay.routing.terminal.options import Json, group

if TYPE_CHECKING:
    from forebay.producers.bulk.handle import BulkHandle
    from forebay.producers.bulk.running.progress import Progress
    from forebay.producers.client import Client

RUN_HELP = """Answer every row of a file, and write the results to another file.

\b
  forebay bulk run mails.csv --kind classify --labels labels.txt --out l.csv
  forebay bulk run mails/ --kind extract --schema invoice.json --out i.jsonl
  forebay bulk run m.csv --kind generate --user "Reply: {body}" --out a.csv
  forebay bulk run mails.csv --kind decide --choice "sad?=yes,no" --out d.csv
  forebay bulk run mails.parquet --kind embed --text-field body --out v.npy
  cat jobs.jsonl | forebay bulk run - --out results.jsonl

Rows are read from JSONL, CSV, TSV, Parquet, a folder of text files, or - for standard input.
Without --kind, each row is a request or a job as JSON. Bad rows go to NAME.bad.jsonl.

--dry-run validates all rows and answers none. --sample 200 answers 200 rows chosen at random, and
says what the whole will take.

Ctrl-C detaches: rows that the fleet has go on, and `forebay bulk resume` goes on with the rest.
"""

app = group("Answer the rows of a file.")


@app.command(help=RUN_HELP)
def run(  # noqa: D103 - its help says it
    source: Rows,
    *,
    out: Out = None,
    kind: Kind = None,
    text_field: TextField = None,
    text: TextForm = None,
    system: SystemForm = None,
    user: UserForm = None,
    label: Label = None,
    labels: LabelsFile = None,
    schema: SchemaFile = None,
    question: Questions = None,
    choice: Choices = None,
    questions: QuestionsFile = None,
    max_words: MaxWords = None,
    focus: Focus = None,
    max_tokens: MaxTokens = None,
    key: KeyColumn = None,
    egress: Egress = None,
    egress_column: EgressColumn = None,
    by: By = None,
    max_usd: MaxUsd = None,
    max_cost: MaxRowUsd = None,
    order: Order = "input",
    rows_format: RowsFormat = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    sample: Sample = None,
    dry_run: DryRun = False,
    tenant: TenantName = None,
    as_json: Json = False,
) -> None:
    if goes_on(out, resume=resume, overwrite=overwrite, sample=sample, dry_run=dry_run) and out:
        _follow_resumed(out, tenant, source, as_json=as_json)
        return
    options = _given({
        "kind": kind, "text_field": text_field, "text": text, "system": system, "user": user,
        "labels": labels_of(label, labels), "schema": schema and Path(schema), "key": key,
        "max_words": max_words, "focus": focus, "max_tokens": max_tokens, "egress": egress,
        "egress_column": egress_column, "max_usd": max_usd, "max_cost_usd": max_cost,
        "source_format": rows_format, "deadline": by and read_by(by),
        "questions": read_questions(questions, question, choice),
    })  # fmt: skip
    with naming_options(), open_client(current_tenant(tenant)) as client:
        if dry_run or sample:
            _try_out(client, source, sample, options, as_json=as_json)
        else:
            options |= {"out": out, "order": order, "overwrite": overwrite}
            _follow(client.bulk(source, **options), as_json=as_json, by=bool(by))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; raise `InvalidJob` if one is for another kind."""
    given = {name: value for name, value in options.items() if value is not None}
    check_kind(given.get("kind"), given)
    return given


@app.command("resume")
def go_on(bulk: Bulk, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Go on with a bulk that was detached from, paused or killed."""
    _follow_resumed(bulk, tenant, None, as_json=as_json)


@app.command()
def retry(bulk: Bulk, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Answer the failed and the degraded rows again. The new results take their places."""
    with open_client(_tenant_of(tenant, bulk)) as client:
        _follow(client.retry_bulk(bulk), as_json=as_json)


@app.command()
def status(bulk: Bulk, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Print how far a bulk is."""
    bulk = _id_of(bulk)
    with open_client(_tenant_of(tenant, bulk)) as client:
        _print(client.bulk_progress(bulk), as_json=as_json)


@app.command("list")
def print_list(*, tenant: TenantName = None, as_json: Json = False) -> None:
    """List the bulks of the last 30 days, the newest first."""
    from forebay.producers.cli.bulk.progress import HEADER, cells

    with open_client(current_tenant(tenant)) as client:
        found = client.bulks()
    if as_json:
        display.document([asdict(each) for each in found])
    elif found:
        display.table(HEADER, [cells(each) for each in found])
    else:
        display.note("no bulks")


@app.command()
def pause(bulk: Bulk, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Put a bulk aside. `forebay bulk resume` goes on with it."""
    _set_state(bulk, "paused", tenant, as_json=as_json)


@app.command()
def cancel(bulk: Bulk, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """End a bulk. Results that are in its output stay there."""
    _set_state(bulk, "cancelled", tenant, as_json=as_json)


def _try_out(
    client: Client, source: str, sample: int | None, options: dict[str, Any], *, as_json: bool
) -> None:
    """Answer a sample of the rows, or only read all of them."""
    if not sample:
        _validate(client, source, options, as_json=as_json)
        return
    from forebay.producers.cli.bulk.progress import estimate_lines

    found = client.sample_bulk(source, sample, **options)
    if as_json:
        display.document(asdict(found))
        return
    for line in estimate_lines(found):
        display.text(line)


def _validate(client: Client, source: str, options: dict[str, Any], *, as_json: bool) -> None:
    """Read all rows, and answer none."""
    from forebay.producers.bulk.outputs.columns import of_bad_row

    found = client.validate_bulk(source, **options)
    if as_json:
        bad = [of_bad_row(row) for row in found.first_bad]
        display.document({"rows": found.rows, "bad": found.bad, "first_bad": bad})
    else:
        for row in found.first_bad:
            display.text(str(row))
        if (more := found.bad - len(found.first_bad)) > 0:
            display.text(f"and {counted(more, 'more bad row')}")
        display.text(f"{counted(found.rows, 'valid row')}, {counted(found.bad, 'bad row')}")
    if found.bad:
        raise typer.Exit(display.FAILURE)


def _set_state(bulk: str, state: Any, tenant: str | None, *, as_json: bool) -> None:
    bulk = _id_of(bulk)
    with open_client(_tenant_of(tenant, bulk)) as client:
        _print(client.set_bulk_state(bulk, state), as_json=as_json)


def _follow_resumed(which: str, tenant: str | None, source: str | None, *, as_json: bool) -> None:
    with open_client(_tenant_of(tenant, which)) as client:
        try:
            bulk = client.resume_bulk(which, source)
        except InvalidJob as error:
            if error.job_id is None:
                raise
            display.note(str(error))
            _print(replace(client.bulk_progress(error.job_id), fed=True), as_json=as_json)
        else:
            _follow(bulk, as_json=as_json)


def _follow(bulk: BulkHandle, *, as_json: bool, by: bool = False) -> None:
    """Feed and collect a bulk until it ends or a signal detaches. `by`: it has a deadline."""
    from forebay.producers.cli.bulk.progress import forecast_line, live
    from forebay.producers.cli.progress import interrupted_by

    with bulk:
        display.note(f"bulk {bulk.id}")
        if by:
            display.note(forecast_line(bulk.forecast()))
        try:
            with interrupted_by(SIGTERM, SIGHUP), live(display.note) as report:
                end = bulk.wait(on_progress=report)
        except KeyboardInterrupt:
            display.note(
                f"detached: the rows that the fleet has go on; `forebay bulk resume {bulk.id}` "
                "goes on with the rest"
            )
            raise typer.Exit(display.INTERRUPTED) from None
    _print(end, as_json=as_json)
    if bulk.input_change:
        display.note(f"the input changed while it was read: {bulk.input_change}")
    if end.bad:
        display.note(f"{counted(end.bad, 'bad row')}: see {bulk.bad_rows}")
    if end.failed or end.expired or end.degraded:
        display.note(f"`forebay bulk retry {bulk.out}` answers failed and degraded rows again")
    if end.state != "done":
        raise typer.Exit(display.FAILURE)


def _print(progress: Progress, *, as_json: bool) -> None:
    from forebay.producers.cli.bulk.progress import report_lines

    if as_json:
        display.document(asdict(progress))
        return
    for line in report_lines(progress):
        display.text(line)


def _id_of(which: str) -> str:
    """Return the id of a bulk that is named by its id or by its output."""
    from forebay.producers.bulk.running.manifest import Manifest, folder_of
    from forebay.routing.jobs import owner

    return which if owner(which) else Manifest.load(folder_of(Path(which).resolve())).id


def _tenant_of(option: str | None, which: str) -> str:
    from forebay.routing.jobs import owner

    return current_tenant(option, owner(which) or "default")

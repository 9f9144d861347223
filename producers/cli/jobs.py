# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The commands about one job: submit, result, status, explain, cancel, forget."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from forebay.producers.cli import display
from forebay.producers.cli.clients import open_client, tenant_of_job
from forebay.producers.cli.options import (
    Cache,
    CancelOnExit,
    Choices,
    Deadline,
    Egress,
    File,
    Focus,
    Id,
    IdOrFleet,
    Key,
    Labels,
    Lane,
    MaxCost,
    MaxTokens,
    MaxWords,
    Meta,
    Model,
    Patience,
    Priority,
    Questions,
    QuestionsFile,
    Schema,
    Source,
    State,
    System,
    TenantName,
    Texts,
    Timeout,
    Wait,
    Words,
)
from forebay.routing.errors import InvalidJob
from forebay.routing.terminal.options import Json, ungrouped

if TYPE_CHECKING:
    from forebay.producers.client import Client
    from forebay.routing.jobs import Job

SUBMIT_HELP = """Submit a job; print its id, or with --wait its answer.

\b
SOURCE is a job kind, with the content after it or in options:
  forebay submit summarize "A long text" --wait
  forebay submit classify "I was charged twice" --label billing --label login
  forebay submit summarize --file article.txt --max-words 40 --wait
  forebay submit extract --file invoice.txt --schema invoice.json --wait
  forebay submit generate "What is a forebay?" --system "Be brief." --wait
  forebay submit decide "Where is my parcel?" --question "late: Is it late?"
  forebay submit decide --file mail.txt --question "anger [1..5]: Angry?" \\
      --question "team [sales|support]: For whom is this?" --wait
  forebay submit decide "Where is my parcel?" --choice "urgent?=yes,no" --wait
  forebay submit embed --text first --text second --wait --json
\b
or a file (- for standard input) with a request or a whole job as JSON:
  forebay submit job.json --egress allow --wait
  echo '{"kind": "summarize", "text": "..."}' | forebay submit

Options override what the file says. `forebay schema` describes it.
"""

app = ungrouped()


@app.command(help=SUBMIT_HELP)
def submit(  # noqa: D103 - its help says it
    source: Source = "-",
    words: Words = None,
    *,
    text: Texts = None,
    file: File = None,
    label: Labels = None,
    question: Questions = None,
    choice: Choices = None,
    questions: QuestionsFile = None,
    state: State = None,
    schema: Schema = None,
    system: System = None,
    max_words: MaxWords = None,
    focus: Focus = None,
    max_tokens: MaxTokens = None,
    egress: Egress = None,
    lane: Lane = None,
    model: Model = None,
    priority: Priority = None,
    deadline: Deadline = None,
    max_cost: MaxCost = None,
    key: Key = None,
    cache: Cache = False,
    meta: Meta = None,
    tenant: TenantName = None,
    wait: Wait = False,
    timeout: Timeout = None,
    cancel_on_exit: CancelOnExit = False,
    patience: Patience = None,
    as_json: Json = False,
) -> None:
    from forebay.producers.cli import job_input, option_names

    job_input.check_stdin_is_read_once(source, file, schema, state, questions)
    request = _without_unset({
        "text": [*(words or []), *(text or []), *_text_of(file)], "labels": label, "system": system,
        "schema": _if_given(job_input.read_schema, schema), "max_words": max_words, "focus": focus,
        "questions": job_input.read_questions(questions, question, choice),
        "state": _if_given(job_input.read_state, state), "max_tokens": max_tokens,
    })  # fmt: skip
    options = _without_unset({
        "egress": egress, "lane": lane, "model": model, "priority": priority, "tenant": tenant,
        "deadline": _if_given(job_input.read_deadline, deadline), "max_cost_usd": max_cost,
        "idempotency_key": key, "cache": cache, "metadata": meta and job_input.read_metadata(meta),
    })  # fmt: skip
    with option_names.in_option_names(source, {*request, *options}):
        _note_standard_input(source)
        job = job_input.make_job(source, request, options)
        _submit(job, patience, _Waits(wait, timeout, cancels=cancel_on_exit), as_json=as_json)


def _note_standard_input(source: str) -> None:
    """Say what is awaited if the job is to be typed in."""
    if source == "-" and sys.stdin.isatty():
        display.note("reading a job as JSON from standard input (Ctrl-D ends it)")


@app.command()
def result(
    job_id: Id,
    *,
    tenant: TenantName = None,
    wait: Wait = False,
    timeout: Timeout = None,
    cancel_on_exit: CancelOnExit = False,
    as_json: Json = False,
) -> None:
    """Print the answer of a job. Without --wait or --timeout, fail if there is none yet."""
    waits = _Waits(asked=wait, timeout=timeout, cancels=cancel_on_exit)
    with open_client(tenant_of_job(tenant, job_id)) as client:
        _print_answer(client, job_id, waits, as_json=as_json)


@app.command()
def status(job_id: IdOrFleet = None, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Print where a job is, or without an id how the fleet is.

    Of a job it says how many jobs are before it and whether a worker serves it. How the fleet is,
    `forebay top` shows live.
    """
    from forebay.producers.cli.progress import describe

    if job_id is None:
        from forebay.producers.cli.operator import top

        top.run(1.0, 1, as_json=as_json)
        return
    with open_client(tenant_of_job(tenant, job_id)) as client:
        current = client.status(job_id)
    display.result(current.model_dump(mode="json"), describe(current), as_json=as_json)


@app.command()
def explain(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Explain why a job took its lane. Prints decisions, scores, thresholds, checks and cost."""
    from forebay.producers.explain import explanation_lines

    with open_client(tenant_of_job(tenant, job_id)) as client:
        document = client.explain(job_id)
    if as_json:
        display.document(document)
        return
    for line in explanation_lines(document):
        display.text(line)


@app.command()
def cancel(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Cancel a job that has not ended yet."""
    with open_client(tenant_of_job(tenant, job_id)) as client:
        cancelled = client.cancel(job_id)
    display.result(
        {"id": job_id, "cancelled": cancelled},
        "cancelled" if cancelled else "had ended already",
        as_json=as_json,
    )


@app.command()
def forget(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Delete everything stored about a job. Its content, its answer and its record."""
    with open_client(tenant_of_job(tenant, job_id)) as client:
        forgotten = client.forget(job_id)
    display.result(
        {"id": job_id, "forgotten": forgotten},
        "forgotten" if forgotten else "nothing was stored",
        as_json=as_json,
    )


class _Waits:
    """Whether and how long a command waits for the answer, and what becomes of the job then."""

    def __init__(self, asked: bool, timeout: float | None, *, cancels: bool) -> None:  # noqa: FBT001 - the option
        self.waits = asked or timeout is not None
        self.limit_s = timeout if self.waits else 0.0
        self.cancels = cancels
        if cancels and not self.waits:
            raise InvalidJob("is about a wait: add --wait or --timeout", field="--cancel-on-exit")


def _text_of(file: str | None) -> list[str]:
    from forebay.producers.cli.job_input import read_text

    return [] if file is None else [read_text(file, option="--file")]


def _if_given(read: Callable[[str], Any], text: str | None) -> Any:
    """Return what an option holds; `None` if it was not given."""
    return None if text is None else read(text)


def _submit(job: Job, patience: float | None, waits: _Waits, *, as_json: bool) -> None:
    with open_client(job.tenant, patience) as client:
        job_id = client.submit(job, cancel_on_exit=waits.cancels)
        if waits.waits:
            display.note(f"job {job_id}")
            _print_answer(client, job_id, waits, as_json=as_json)
        else:
            display.result({"id": job_id}, job_id, as_json=as_json)


def _without_unset(options: Mapping[str, Any]) -> dict[str, Any]:
    # By identity: 0 equals False, but is a value that was given.
    return {k: v for k, v in options.items() if v is not None and v is not False and v != []}


def _print_answer(client: Client, job_id: str, waits: _Waits, *, as_json: bool) -> None:
    from forebay.producers.cli.progress import await_answer, leaving, progress

    with (
        leaving(client, job_id, display.note, cancels=waits.cancels),
        progress(display.note) as report,
    ):
        answer = await_answer(client, job_id, timeout=waits.limit_s, report=report)
    display.answer(answer, as_json=as_json)

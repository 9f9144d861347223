# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The command `forebay`: reads what was typed, calls the client, prints.

Everything slow is imported where it is used, so that `forebay --help` answers at once. Commands of
the workers' side come in by entry point; this file does not know them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from forebay.producers.cli import dead_letters, display, plugins
from forebay.producers.cli.clients import client_of, tenant_of
from forebay.producers.cli.options import (
    Cache,
    Deadline,
    Egress,
    File,
    Focus,
    Id,
    Json,
    Key,
    Labels,
    Lane,
    MaxCost,
    MaxTokens,
    MaxWords,
    Meta,
    Online,
    Patience,
    Priority,
    Schema,
    System,
    TenantName,
    Texts,
    Timeout,
    Wait,
    What,
)

if TYPE_CHECKING:
    from forebay.producers.client import Client

HELP = """Submit LLM jobs to a Forebay fleet and fetch their answers.

Exit codes: 0 done, 1 the system's fault or the job failed, 2 your mistake, 130 interrupted.

Settings come from the environment: FOREBAY_REDIS_URL, FOREBAY_TENANT and others (README).
FOREBAY_DEBUG=1 prints tracebacks, which may hold content of jobs.
"""
SUBMIT = """Submit a job; print its id, or with --wait its answer.

\b
WHAT is a kind with its options:
  forebay submit classify --text "My card was charged twice" --label billing --label login
  forebay submit summarize --file article.txt --max-words 40 --wait
  forebay submit extract --file invoice.txt --schema invoice.schema.json --wait
  forebay submit generate --system "Be brief." --text "What is a forebay?" --wait
  forebay submit embed --text first --text second --wait --json
\b
or a file, or - for standard input, with a request or a whole job as JSON (see `forebay schema`):
  forebay submit job.json --egress allow --wait
  echo '{"kind": "summarize", "text": "..."}' | forebay submit

What is typed goes before what the file says.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
app.add_typer(dead_letters.app, name="dead")


@app.command(help=SUBMIT)
def submit(  # noqa: D103 - its help says it
    what: What = "-",
    *,
    text: Texts = None,
    file: File = None,
    label: Labels = None,
    schema: Schema = None,
    system: System = None,
    max_words: MaxWords = None,
    focus: Focus = None,
    max_tokens: MaxTokens = None,
    egress: Egress = None,
    lane: Lane = None,
    priority: Priority = None,
    deadline: Deadline = None,
    max_cost: MaxCost = None,
    key: Key = None,
    cache: Cache = False,
    meta: Meta = None,
    tenant: TenantName = None,
    wait: Wait = False,
    timeout: Timeout = None,
    patience: Patience = None,
    as_json: Json = False,
) -> None:
    from forebay.producers.cli.job_input import (
        make_job,
        read_deadline,
        read_metadata,
        read_object,
        read_text,
    )

    texts = [*(text or []), *([read_text(file, field="file")] if file else [])]
    request = {
        "text": texts, "labels": label, "system": system, "max_words": max_words, "focus": focus,
        "schema": read_object(schema, field="schema") if schema else None,
        "max_tokens": max_tokens,
    }  # fmt: skip
    options = {
        "egress": egress, "lane": lane, "priority": priority, "max_cost_usd": max_cost,
        "deadline": read_deadline(deadline) if deadline else None, "idempotency_key": key,
        "cache": cache, "metadata": read_metadata(meta) if meta else None, "tenant": tenant,
    }  # fmt: skip
    if what == "-" and sys.stdin.isatty():
        display.note("reading a job as JSON from standard input (Ctrl-D ends it)")
    job = make_job(what, _given(request), _given(options))
    with client_of(job.tenant, patience) as client:
        job_id = client.submit(job)
        if wait or timeout is not None:
            display.note(f"job {job_id}")
            _print_answer(client, job_id, timeout, as_json=as_json)
        elif as_json:
            display.document({"id": job_id})
        else:
            display.text(job_id)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    # 0 is something that was typed, though it equals False.
    left_out = (None, False)
    return {k: v for k, v in options.items() if v != [] and not any(v is one for one in left_out)}


@app.command()
def result(
    job_id: Id,
    *,
    tenant: TenantName = None,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Print the answer of a job. Without --wait, only if there is one by now."""
    limit = timeout if wait or timeout is not None else 0.0
    with client_of(tenant_of(tenant, job_id)) as client:
        _print_answer(client, job_id, limit, as_json=as_json)


@app.command()
def status(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Say where a job is. Also how many are before it, and whether anybody serves its queue."""
    from forebay.producers.cli.progress import describe

    with client_of(tenant_of(tenant, job_id)) as client:
        now = client.status(job_id)
    if as_json:
        display.document(now.model_dump(mode="json"))
    else:
        display.text(describe(now))


@app.command()
def explain(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Say why a job went where it went. Decisions, scores, thresholds, checks, cost, audit."""
    from forebay.producers.explain import explanation_lines

    with client_of(tenant_of(tenant, job_id)) as client:
        document = client.explain(job_id)
    if as_json:
        display.document(document)
    for line in () if as_json else explanation_lines(document):
        display.text(line)


@app.command()
def cancel(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """End a job that has not ended yet."""
    with client_of(tenant_of(tenant, job_id)) as client:
        done = client.cancel(job_id)
    if as_json:
        display.document({"id": job_id, "cancelled": done})
    else:
        display.text("cancelled" if done else "had ended already")


@app.command()
def forget(job_id: Id, *, tenant: TenantName = None, as_json: Json = False) -> None:
    """Delete all that is stored of a job. Its content, its answer, its record."""
    with client_of(tenant_of(tenant, job_id)) as client:
        done = client.forget(job_id)
    if as_json:
        display.document({"id": job_id, "forgotten": done})
    else:
        display.text("forgotten" if done else "there was nothing")


@app.command()
def schema(*, as_json: Json = False) -> None:  # noqa: ARG001 - it is JSON either way
    """Print the JSON Schema of jobs, answers and receipts."""
    from forebay.routing.jobs import json_schema

    display.document(json_schema())


@app.command()
def doctor(
    *,
    online: Online = False,
    as_json: Json = False,
) -> None:
    """Check every part and say how to mend it. Exit code 1 when something fails."""
    from forebay.producers.cli.doctor import probes
    from forebay.routing.diagnostics import examine

    findings = []
    for finding in examine([*probes(), *plugins.probes(online=online)]):
        findings.append(finding)
        if not as_json:
            display.finding(finding)
    healthy = all(finding.state != "fail" for finding in findings)
    if as_json:
        display.document({"ok": healthy, "checks": [asdict(one) for one in findings]})
    if not healthy:
        raise typer.Exit(1)


@app.command("version")
def print_version(*, as_json: Json = False) -> None:
    """Print the version of Forebay."""
    try:
        number = version("forebay")
    except PackageNotFoundError:
        number = "unknown (not installed)"
    if as_json:
        display.document({"forebay": number})
    else:
        display.text(number)


# --- behind the commands ------------------------------------------------------------------------


def _print_answer(client: Client, job_id: str, timeout: float | None, *, as_json: bool) -> None:
    from forebay.producers.cli.progress import await_answer, progress

    with progress(display.note) as say:
        answer = await_answer(client, job_id, timeout=timeout, say=say)
    display.answer(answer, as_json=as_json)


def commands() -> TyperGroup:
    """All commands, those of other packages included."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for extension in plugins.commands():
        group.add_command(extension)
    return group


def run(args: Sequence[str]) -> int:
    """Run one command line. Returns its exit code; nothing but that comes out of it."""
    # Seen before anything is parsed: a mistake in the options must come as JSON as well.
    as_json = "--json" in args
    try:
        code = commands().main(args=args, prog_name="forebay", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return display.FAILURE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - no user ever sees a traceback
        return display.complain(error, as_json=as_json)
    if code == display.INTERRUPTED:  # typer makes an exit code of Ctrl-C
        return display.complain(KeyboardInterrupt(), as_json=as_json)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the command `forebay`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

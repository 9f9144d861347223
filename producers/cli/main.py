# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The command `forebay`: parses the command line, runs a command, turns errors into exit codes.

Everything slow is imported where it is used, so that `forebay --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from typer.core import TyperGroup

from forebay.producers.cli import dead_letters, display, jobs, worker_commands
from forebay.producers.cli.bulk import commands as bulk
from forebay.producers.cli.gateway import keys, serve, webhooks
from forebay.producers.cli.money import egress, report, spend, tco
from forebay.producers.cli.operator import capacity, pauses, readers, tenants, workers
from forebay.producers.cli.operator import jobs as operator_jobs
from forebay.producers.cli.operator.jobs import Interval, Rounds
from forebay.producers.cli.options import Json, Online
from forebay.routing.tracing import exporting

HELP = """Submit LLM jobs to a Forebay fleet and fetch their answers.

Exit codes: 0 success, 1 the job or a part of the system failed, 2 your mistake, 130 interrupted.

Settings come from the environment: FOREBAY_REDIS_URL, FOREBAY_TENANT, and others that
deploy/env.example lists.
FOREBAY_DEBUG=1 prints tracebacks, which may hold content of jobs.
"""

#: Commands that add all fleets up, or are about the fleet of `--fleet`.
OF_FLEETS = (
    "capacity", "dead", "doctor", "egress", "jobs", "pause", "report", "resume", "spend", "status",
    "top", "workers",
)  # fmt: skip

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
about = typer.Typer(rich_markup_mode=None, add_completion=False)


@about.command()
def schema(*, as_json: Json = False) -> None:  # noqa: ARG001 - it is JSON either way
    """Print the JSON Schema of jobs, answers and receipts."""
    from forebay.routing.jobs import json_schema

    display.document(json_schema())


@about.command()
def doctor(*, online: Online = False, as_json: Json = False) -> None:
    """Check every part and say how to fix it. The exit code is 1 if a check fails."""
    from forebay.producers.cli.doctor import probes
    from forebay.producers.cli.operator import checks
    from forebay.routing.diagnostics import examine

    findings = []
    for finding in examine([*probes(), *checks.probes(), *worker_commands.probes(online=online)]):
        findings.append(finding)
        if not as_json:
            display.finding(finding)
    healthy = all(finding.state != "fail" for finding in findings)
    if as_json:
        display.document({"ok": healthy, "checks": [asdict(finding) for finding in findings]})
    if not healthy:
        raise typer.Exit(1)


@about.command()
def top(*, interval: Interval = 2.0, rounds: Rounds = None, as_json: Json = False) -> None:
    """Show queues, workers, money and failures of the fleet, live."""
    from forebay.producers.cli.operator import top as screen

    screen.run(interval, rounds, as_json=as_json)


@about.command("version")
def print_version(*, as_json: Json = False) -> None:
    """Print the version of Forebay."""
    _print_version(as_json=as_json)


def _print_version(*, as_json: bool) -> None:
    try:
        number = version("forebay")
    except PackageNotFoundError:
        number = "unknown (not installed)"
    if as_json:
        display.document({"forebay": number})
    else:
        display.text(number)


def _version_asked(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    """Print the version and end the command, if `--version` was given."""
    if wanted:
        _print_version(as_json=False)
        raise typer.Exit


@app.callback(help=HELP)
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version_asked, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.add_typer(jobs.app)
app.add_typer(about)
app.add_typer(bulk.app, name="bulk")
app.add_typer(dead_letters.app, name="dead")
app.add_typer(operator_jobs.app, name="jobs")
app.add_typer(serve.app)
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(pauses.app)
app.add_typer(egress.app, name="egress")
app.add_typer(report.app)
app.add_typer(spend.app, name="spend")
app.add_typer(tco.app)
app.add_typer(capacity.app)
app.add_typer(workers.app, name="workers")
app.add_typer(tenants.app, name="tenants")


def commands() -> TyperGroup:
    """Return all commands, those of the workers' side included."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name in OF_FLEETS:
        readers.add_option(group.commands[name])
    for command in worker_commands.commands():
        group.add_command(command)
    return group


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code. Raises nothing."""
    # Looked up before parsing: a mistake in the options is printed as JSON as well.
    as_json = "--json" in args
    readers.chosen.set(None)
    try:
        if "serve" not in args[:1]:  # the gateway sets up its own export, in each of its processes
            exporting.start("forebay-cli")
        code = commands().main(args=args, prog_name="forebay", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return display.FAILURE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - no user ever sees a traceback
        return display.complain(error, as_json=as_json)
    if code == display.INTERRUPTED:  # typer makes an exit code of Ctrl-C
        return display.complain(KeyboardInterrupt(), as_json=as_json)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command `forebay`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The command `forebay`: parses the command line, runs a command, turns errors into exit codes.

Each command is imported when it is called, and what is slow where it is used.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import forebay
from forebay.producers.cli import display, worker_commands
from forebay.producers.cli.operator import readers
from forebay.producers.cli.options import Interval, Online, Rounds
from forebay.routing.terminal.options import Json, ungrouped
from forebay.routing.tracing import exporting

HELP = """Submit LLM jobs to a Forebay fleet and fetch their answers.

Exit codes: 0 success, 1 the job or a part of the system failed, 2 your mistake, 130 interrupted.

Settings come from the environment: FOREBAY_REDIS_URL, FOREBAY_TENANT, and others that
deploy/env.example lists.
FOREBAY_DEBUG=1 prints tracebacks, which may hold content of jobs.
"""

#: The commands by the module that has them; `""` is this one.
COMMANDS = {
    "": ("schema", "doctor", "top", "version"),
    "jobs": ("submit", "result", "status", "explain", "cancel", "forget"),
    "bulk.commands": ("bulk",),
    "dead_letters": ("dead",),
    "gateway.serve": ("serve",),
    "gateway.keys": ("keys",),
    "gateway.webhooks": ("webhooks",),
    "money.egress": ("egress",),
    "money.report": ("report",),
    "money.spend": ("spend",),
    "money.tco": ("tco",),
    "operator.capacity": ("capacity",),
    "operator.jobs": ("jobs",),
    "operator.pauses": ("pause", "resume"),
    "operator.workers": ("workers",),
    "operator.tenants": ("tenants",),
}

#: The sections of `forebay --help`; a command that none of them names is under "Other".
SECTIONS = {
    "Jobs": ("submit", "status", "result", "explain", "cancel", "forget", "bulk"),
    "Operate": (
        "doctor", "top", "jobs", "dead", "workers", "capacity", "pause", "resume", "tenants",
    ),
    "Money, and what leaves": ("report", "spend", "egress", "tco"),
    "Gateway": ("serve", "keys", "webhooks"),
    "Models": ("models", "plan", "gpu", "router", "calibrate"),
    "About": ("schema", "version"),
}  # fmt: skip
#: Commands that add all fleets up, or are about the fleet of `--fleet`.
OF_FLEETS = frozenset(
    {"capacity", "dead", "doctor", "egress", "jobs", "pause", "report", "resume", "spend", "status",
     "top", "workers"}
)  # fmt: skip
#: Likewise, commands of a group whose other commands are about the fleet of a tenant.
OF_FLEETS_IN_GROUPS = {"keys": "list"}

#: Objects made before Python looks for garbage. Imports make many, and hardly any is garbage.
OBJECTS_PER_COLLECTION = 100_000


class Commands(TyperGroup):
    """All commands. Each is imported when it is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        here: dict[str, Any] = dict(self.commands)
        names = [name for group in COMMANDS.values() for name in group]
        commands: Any = {name: here.get(name) for name in names}
        self.commands = commands
        for command in worker_commands.commands():
            self.add_command(command)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer calls it
        """Return the names of all commands."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names of all commands with a line about each, by section."""
        width = max(map(len, self.commands))
        limit = formatter.width - 6 - width
        named = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in self.commands if name not in named)
        sections = {**SECTIONS, **({"Other": others} if others else {})}
        for heading, names in sections.items():
            with formatter.section(heading):
                formatter.write_dl([
                    (name.ljust(width), self.get_command(ctx, name).get_short_help_str(limit))
                    for name in names
                ])  # fmt: skip

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or `None` if there is none of this name."""
        found: Any = super().get_command(ctx, cmd_name)
        for module, names in COMMANDS.items():
            if module and cmd_name in names:
                found = _imported(module, cmd_name)
        if cmd_name in OF_FLEETS:
            readers.add_option(found)
        if cmd_name in OF_FLEETS_IN_GROUPS:
            readers.add_option(found.commands[OF_FLEETS_IN_GROUPS[cmd_name]])
        return found


def _imported(module: str, name: str) -> Any:
    """Return a command of a module, or all of the module's commands as a group."""
    found = typer.main.get_command(worker_commands.load(f"forebay.producers.cli.{module}:app"))
    return found.commands.get(name, found) if isinstance(found, TyperGroup) else found


app = typer.Typer(
    cls=Commands, help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
about = ungrouped()


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

    findings, told = [], set()
    for finding in examine([*probes(), *checks.probes(), *worker_commands.probes(online=online)]):
        cause = finding.seen.removeprefix("misconfigured: ")
        if finding.state == "fail" and cause in told:  # several checks read the same setting
            continue
        told.add(cause)
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
    display.result({"forebay": forebay.__version__}, forebay.__version__, as_json=as_json)


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


app.add_typer(about)


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code. Raises nothing."""
    # Looked up before parsing: a mistake in the options is printed as JSON as well.
    as_json = "--json" in args
    readers.chosen.set(None)
    try:
        if "serve" not in args[:1]:  # the gateway sets up its own export, in each of its processes
            exporting.start("forebay-cli", always=True)
        code = typer.main.get_command(app).main(
            args=args, prog_name="forebay", standalone_mode=False
        )
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
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    code = run(sys.argv[1:])
    gc.freeze()  # Python looks for garbage when it exits: not among all that was imported
    sys.exit(code)


if __name__ == "__main__":
    main()

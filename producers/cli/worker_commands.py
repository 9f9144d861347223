"""The commands and checks of the workers' side, known by name and imported only when they run.

The wings stay apart: nothing here imports `forebay.workers` until a command of it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from forebay.routing.diagnostics import Finding, Probe
from forebay.routing.errors import Misconfigured


class Entry(NamedTuple):
    """The module of a command, and the sentence about it in `forebay --help`.

    Attributes:
        target: `module:name` of a `typer.Typer`.
        help: one line, the first sentence of the command's own help.
        extra: the optional extra of the package that the command needs, if any.
    """

    target: str
    help: str
    extra: str | None = None


COMMANDS = {
    "calibrate": Entry(
        "forebay.workers.commands.calibrate:app",
        "Fit verdicts, doubts and label probabilities to audits.",
        "router",
    ),
    "gpu": Entry(
        "forebay.workers.commands.gpu:app",
        "Check a GPU machine, compile the kernels of its engines.",
        "gpu",
    ),
    "models": Entry(
        "forebay.workers.commands.models:app",
        "List, recommend, download, pin, verify and convert models.",
        "models",
    ),
    "plan": Entry(
        "forebay.workers.commands.plan:app",
        "Say whether a model fits this card.",
    ),
    "router": Entry(
        "forebay.workers.commands.router:app",
        "Train, evaluate, publish the router model; set its pace.",
        "router",
    ),
}
CHECKS = "forebay.workers.commands.doctor:checks"


class LazyCommand(TyperCommand):
    """A command that is imported when it runs, so that `forebay --help` stays fast."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, help=entry.help, add_help_option=False)
        self._entry = entry

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the arguments as they are; the command itself parses them."""
        ctx.args = args
        return args

    def invoke(self, ctx: Any) -> Any:
        """Import the command and run it.

        Raises:
            Misconfigured: A module that the command needs is missing.
        """
        try:
            command = typer.main.get_command(load(self._entry.target))
            with command.make_context(ctx.info_name, ctx.args, parent=ctx.parent) as inner:
                return command.invoke(inner)
        except ImportError as error:
            raise Misconfigured(_remedy(error, self._entry.extra), field=self.name) from error


def commands() -> Iterator[LazyCommand]:
    """Yield the commands of the workers' side."""
    return (LazyCommand(name, entry) for name, entry in COMMANDS.items())


def probes(*, online: bool) -> Iterator[Probe]:
    """Yield the checks of the workers' side, or a warning if they cannot be imported."""
    try:
        yield from load(CHECKS)(online=online)
    except Exception as error:  # noqa: BLE001 - broken workers must not hide the other checks
        yield _unavailable(error)


def load(target: str) -> Any:
    """Import `module:name`."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _remedy(error: ImportError, extra: str | None) -> str:
    missing = f"needs the module {error.name}, which is missing or broken"
    return f"{missing}: install the extra `{extra}`" if extra else missing


def _unavailable(error: Exception) -> Probe:
    module = error.name if isinstance(error, ImportError) else None
    why = f"the module {module} is missing" if module else type(error).__name__
    mend = "install that module, or reinstall Forebay"
    return lambda: [Finding("checks workers", "warn", f"cannot be imported: {why}", mend)]

"""Commands and checks of other packages, found by entry point; one that is broken breaks no other.

So the workers' side has its commands here, and neither side imports the other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from forebay.routing.diagnostics import Finding, Probe
from forebay.routing.errors import Misconfigured


class Extension(TyperCommand):
    """A command of another package, loaded when it is called; its help is its module's first line.

    So `forebay --help` answers at once, whatever the commands themselves need.
    """

    def __init__(self, entry: EntryPoint) -> None:
        super().__init__(entry.name, help=_first_line(entry))
        self._entry = entry

    def make_context(
        self, info_name: str | None, args: list[str], *more: Any, **options: Any
    ) -> Any:
        """Hand over to the command itself; one that cannot be loaded says why."""
        try:
            loaded = self._entry.load()
        except Exception as error:  # noqa: BLE001 - a missing extra must not break the others
            loaded = _absent(self._entry, error)
        command = typer.main.get_command(loaded)
        return command.make_context(info_name, args, *more, **options)


def commands() -> Iterator[Extension]:
    """Those of all packages."""
    return map(Extension, entry_points(group="forebay.commands"))


def probes(*, online: bool) -> Iterator[Probe]:
    """The checks of each; those that cannot be loaded are a finding themselves."""
    for entry in entry_points(group="forebay.checks"):
        try:
            yield from entry.load()(online=online)
        except Exception as error:  # noqa: BLE001 - a missing extra must not hide the others
            yield _unknown(entry, error)


def _first_line(entry: EntryPoint) -> str:
    """What the module of a command says of itself, after the command's name; nothing is loaded."""
    try:
        spec = find_spec(entry.module)
        assert spec is not None
        assert spec.origin is not None
        said = ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or ""
    except Exception as error:  # noqa: BLE001 - likewise
        return f"Not available here: {_why(error)}."
    text = said.partition("\n")[0].partition(": ")[2]
    return text[:1].upper() + text[1:]


def _why(error: Exception) -> str:
    if isinstance(error, ImportError) and error.name:
        return f"the module {error.name} is not installed or broken"
    return f"it cannot be loaded ({type(error).__name__})"


def _absent(entry: EntryPoint, error: Exception) -> typer.Typer:
    stub = typer.Typer(rich_markup_mode=None, add_completion=False)

    @stub.command(
        help=f"Not available here: {_why(error)}.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def refuse() -> None:
        raise Misconfigured(f"is not available here: {_why(error)}", field=entry.name)

    return stub


def _unknown(entry: EntryPoint, error: Exception) -> Probe:
    def unknown() -> Iterator[Finding]:
        mend = "install the extra that they belong to, or mend it"
        yield Finding(f"checks {entry.name}", "warn", _why(error), mend)

    return unknown

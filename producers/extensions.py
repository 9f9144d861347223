"""Commands and checks of other packages, found by entry point; one that is broken breaks no other.

So the workers' side has its commands here, and neither side imports the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

import typer

from routing.errors import Misconfigured
from routing.health import Finding, Probe


def commands() -> Iterator[tuple[str, typer.Typer]]:
    """Name and commands of each; one that cannot be loaded says why when it is called."""
    for entry in entry_points(group="forebay.commands"):
        try:
            loaded = entry.load()
        except Exception as error:  # noqa: BLE001 - a missing extra must not break the others
            yield entry.name, _absent(entry, error)
        else:
            yield entry.name, loaded


def probes(*, online: bool) -> Iterator[Probe]:
    """The checks of each; those that cannot be loaded are a finding themselves."""
    for entry in entry_points(group="forebay.checks"):
        try:
            yield from entry.load()(online=online)
        except Exception as error:  # noqa: BLE001 - a missing extra must not hide the others
            yield _unknown(entry, error)


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

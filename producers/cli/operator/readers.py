"""The ledgers that a command of an operator reads: of all fleets, or of the one of `--fleet`."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.options import option

if TYPE_CHECKING:
    from forebay.routing.ledger.reader import LedgerReader
    from forebay.routing.settings import Settings

SINGLE = ""  # the name of the only fleet

NO_MAP = "is needed with --fleet: name the map"

#: The fleet that the command line names.
chosen: ContextVar[str | None] = ContextVar("fleet", default=None)


def _choose(name: str | None) -> None:
    chosen.set(name)


Fleet = Annotated[
    str | None,
    option(
        "--fleet",
        "NAME",
        "Of several fleets, look at this one only.",
        expose_value=False,
        is_eager=True,
        callback=_choose,
    ),
]


def add_option(command: Any) -> None:
    """Add `--fleet` to a command, or to each command of a group."""
    example = typer.Typer(add_completion=False)

    @example.command()
    def _(fleet: Fleet = None) -> None: ...

    (option,) = (each for each in typer.main.get_command(example).params if each.name == "fleet")
    for one in _commands(command):
        if not any(each.name == option.name for each in one.params):
            one.params.append(option)


def _commands(command: Any) -> Iterator[Any]:
    if hasattr(command, "commands"):
        for each in command.commands.values():
            yield from _commands(each)
    else:
        yield command


def settings_by_fleet() -> dict[str, Settings]:
    """Return the settings of each fleet, or of the chosen one, by name.

    Raises:
        Misconfigured: The map is wrong, or there is no such fleet.
    """
    from forebay.routing.fleets.opening import map_file  # noqa: PLC0415 - help answers at once
    from forebay.routing.settings import read_settings  # noqa: PLC0415 - as above

    base, name = read_settings(), chosen.get()
    if base.fleets is None:
        if name is not None:
            raise Misconfigured(NO_MAP, field="FOREBAY_FLEETS")
        return {SINGLE: base}
    found = map_file(base.fleets).current()
    return {each: found.settings(each, base) for each in ([name] if name else sorted(found.fleets))}


def settings_of_fleet() -> Settings:
    """Return the settings of the chosen fleet, for a command that is about one.

    Raises:
        Misconfigured: There are several fleets, and none is chosen.
    """
    found = settings_by_fleet()
    if len(found) > 1:
        names = ", ".join(found)
        raise Misconfigured(f"is needed, this is about one fleet of {names}", field="--fleet")
    return next(iter(found.values()))


def fleet_option() -> str:
    """Return the option that names the chosen fleet, for a command that is recommended."""
    name = chosen.get()
    return f" --fleet {name}" if name else ""


def open_readers() -> dict[str, LedgerReader]:
    """Return a reader of each fleet, or of the chosen one, by name; raise as above."""
    return {name: _reader(settings) for name, settings in settings_by_fleet().items()}


def open_reader() -> LedgerReader:
    """Return a reader of the chosen fleet; raise as `settings_of_fleet` does."""
    return _reader(settings_of_fleet())


def reader_of(job_id: str) -> LedgerReader:
    """Return the reader of the fleet that holds a job; the first one for a job that none holds."""
    from forebay.routing.store.connection import reaching_redis  # noqa: PLC0415 - as above

    readers = list(open_readers().values())
    with reaching_redis():
        return next((one for one in readers if one.redis.exists(f"fb:job:{job_id}")), readers[0])


def _reader(settings: Settings) -> LedgerReader:
    from forebay.routing.ledger.reader import LedgerReader  # noqa: PLC0415 - as above
    from forebay.routing.store.connection import connect  # noqa: PLC0415 - as above

    return LedgerReader(connect(settings), settings)

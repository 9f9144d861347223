"""Options, arguments and groups of commands, made in the same way by all of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def option(name: str, metavar: str, words: str, **more: Any) -> Any:
    """Return an option that takes a value, with what `--help` says of it."""
    return typer.Option(name, metavar=metavar, help=words, **more)


def tenant_option(words: str, *also: str) -> Any:
    """Return an option that takes a name that a tenant can have, or one of `also`."""

    def checked(name: str | None) -> str | None:
        if name is not None and name not in also:
            _require_tenant(name)
        return name

    return option("--tenant", "NAME", words, callback=checked)


def _require_tenant(name: str) -> None:
    import re  # noqa: PLC0415 - help answers at once

    from forebay.routing.base import FORMS, TENANT  # noqa: PLC0415 - as above

    if not re.fullmatch(TENANT, name):
        raise typer.BadParameter(FORMS[TENANT], param_hint="--tenant")


def flag(name: str, words: str) -> Any:
    """Return an option that takes no value."""
    return typer.Option(name, help=words)


def argument(metavar: str, words: str, **more: Any) -> Any:
    """Return an argument, which has no name."""
    return typer.Argument(metavar=metavar, help=words, **more)


def group(words: str) -> typer.Typer:
    """Return commands that share their first word."""
    return typer.Typer(
        help=words, no_args_is_help=True, add_completion=False, rich_markup_mode=None
    )


def ungrouped() -> typer.Typer:
    """Return commands that stand for themselves."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


Json = Annotated[bool, flag("--json", "Print exactly one JSON document on stdout.")]

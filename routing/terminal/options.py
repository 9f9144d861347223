"""Options, arguments and groups of commands, made in the same way by all of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def option(name: str, metavar: str, words: str, **more: Any) -> Any:
    """Return an option that takes a value, with what `--help` says of it."""
    return typer.Option(name, metavar=metavar, help=words, **more)


def tenant_option(words: str) -> Any:
    """Return an option that takes the name of a tenant, which cannot be another than one has."""
    return option("--tenant", "NAME", words, callback=_checked_tenant)


def _checked_tenant(name: str | None) -> str | None:
    import re  # noqa: PLC0415 - help answers at once

    from forebay.routing.base import FORMS, TENANT  # noqa: PLC0415 - as above

    if name is not None and not re.fullmatch(TENANT, name):
        raise typer.BadParameter(FORMS[TENANT], param_hint="--tenant")
    return name


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

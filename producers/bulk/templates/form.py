"""Texts with columns in braces, such as `Translate {body} into {language}`."""

from __future__ import annotations

from string import Formatter
from typing import Any

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.templates.cells import text_of
from forebay.routing.errors import InvalidJob


class Form:
    """A text in which each `{column}` stands for the row's value of that column.

    `{{` and `}}` stand for braces. There are no expressions, so that a form can run nothing.

    Args:
        text: the text.
        option: what errors call it.

    Raises:
        InvalidJob: A brace is not closed or not doubled, or braces hold more than a column's name.
    """

    def __init__(self, text: str, *, option: str) -> None:
        self.text = text
        self._parts = _parts(text, option)
        self.columns = tuple(dict.fromkeys(column for _, column in self._parts if column))

    def fill(self, fields: dict[str, Any]) -> str:
        """Return the text with the values of a row. Raises `BadCell` if one cannot be used."""
        return "".join(
            [
                literal if column is None else literal + text_of(fields, column)
                for literal, column in self._parts
            ]
        )


def _parts(text: str, option: str) -> list[tuple[str, str | None]]:
    """Return pieces of text, each with the column that follows it."""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        raise InvalidJob(
            "has a single brace: write {column} for a column, and {{ or }} for a brace",
            field=option,
        ) from None
    for _, column, spec, conversion in pieces:
        if column is None:
            continue
        if not column:
            raise InvalidJob("has empty braces: write a column's name in them", field=option)
        if spec or conversion:
            whole = shown(f"{column}{'!' + conversion if conversion else ''}{':' if spec else ''}")
            raise InvalidJob(
                f"must have only a column's name in braces, not {{{whole}…}}; "
                "write {{ for a literal brace",
                field=option,
            )
    return [(literal, column) for literal, column, _, _ in pieces]

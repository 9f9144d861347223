"""How errors of a bulk name files and columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from forebay.routing.errors import InvalidJob

#: A longer name of a file or a column is shortened in errors.
MAX_NAME_CHARS = 120

#: More columns are not listed in an error.
MAX_COLUMNS_LISTED = 20


def shown(name: str | Path) -> str:
    """Return the name of a file or a column as errors print it: on one line, and not too long."""
    text = "".join(char if char.isprintable() else "?" for char in str(name))
    return text if len(text) <= MAX_NAME_CHARS else f"{text[: MAX_NAME_CHARS - 1]}…"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint that ends an error: the name that may have been meant, or all names."""
    known = [each for each in names if each]
    if close := meant(name, known):
        return f"did you mean {shown(close)!r}?"
    if not known:
        return "there are no columns"
    more = len(known) - MAX_COLUMNS_LISTED
    listed = ", ".join(shown(each) for each in known[:MAX_COLUMNS_LISTED])
    return f"the columns are {listed}" + (f" and {more} more" if more > 0 else "")


def meant(name: str, names: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the name that may have been meant: one that is as much like this one, if any is."""
    by_lower_case = {each.casefold(): each for each in reversed([*names]) if each}
    close = get_close_matches(name[:MAX_NAME_CHARS].casefold(), by_lower_case, 1, likeness)
    return by_lower_case[close[0]] if close else None


def check_header(names: Sequence[str], *, file: str) -> None:
    """Check the names of all columns of a file. A column without a name is left alone.

    Raises:
        InvalidJob: No column has a name, or two columns have the same name.
    """
    if not any(names):
        raise InvalidJob("has no names of columns: give them in the header", field=file)
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name and name in seen:
            where = f"columns {seen[name]} and {number} are both named {shown(name)!r}"
            raise InvalidJob(f"{where}: rename one of them", field=file)
        seen[name] = number

"""The options that a schema allows, and those of them that a text names."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from forebay.workers.checks.grounding import Source

_CODE = re.compile(r"(?=.*[A-Z].*[A-Z0-9]|.*\d)[A-Z0-9][A-Z0-9_./-]*")


class Options:
    """The values that a schema allows in one place; they are looked up in the text once."""

    def __init__(self, values: list[Any], source: Source) -> None:
        self._values = values
        self._source = source

    def __contains__(self, value: Any) -> bool:
        return value in self._values

    @cached_property
    def named(self) -> list[str]:
        """The options that the text names; see `named_options`."""
        return named_options(self._values, self._source)


def named_options(options: Any, source: Source) -> list[str]:
    """Return the options that the text names; nothing if some option is no code, such as `EUR`.

    An ordinary word in a text does not choose an option: `a negative experience, but wonderful`.
    """
    if not isinstance(options, list) or not options:
        return []
    if not all(isinstance(option, str) and _CODE.fullmatch(option) for option in options):
        return []
    return [option for option in options if source.has_code(option)]

"""The findings of `forebay doctor`, shared by the checks of producers and of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from forebay.routing.errors import ForebayError

Severity = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked, short and stable.
        state: `warn` works but should be mended; `fail` does not work.
        seen: what the check saw, with no secret in it.
        mend: what to do about it; empty if nothing needs to be done.
    """

    name: str
    state: Severity
    seen: str
    mend: str = ""


Probe = Callable[[], Iterable[Finding]]


def examine(probes: Iterable[Probe]) -> Iterator[Finding]:
    """Yield the findings of all probes, in order.

    A probe that raises becomes a finding itself, and does not stop the others.
    """
    for probe in probes:
        name = getattr(probe, "__name__", "check")
        try:
            yield from probe()
        except ForebayError as error:
            yield Finding(name, "fail", f"{error.code}: {error}", "mend what it names")
        except Exception as error:  # noqa: BLE001 - one broken probe must not hide the others
            seen = f"the check itself broke ({type(error).__name__})"
            yield Finding(name, "fail", seen, "report it, with the output of `forebay version`")

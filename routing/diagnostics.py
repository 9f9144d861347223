"""What `forebay doctor` finds: one word for it on both sides, so that the wings need not meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from forebay.routing.errors import ForebayError

Severity = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what was looked at, short and stable.
        state: `warn` works but should be mended; `fail` does not work.
        seen: what was found, with no secret in it.
        mend: what to do about it; empty where there is nothing to do.
    """

    name: str
    state: Severity
    seen: str
    mend: str = ""


Probe = Callable[[], Iterable[Finding]]


def examine(probes: Iterable[Probe]) -> Iterator[Finding]:
    """All findings, in order. A probe that breaks is itself a finding and stops no other."""
    for probe in probes:
        name = getattr(probe, "__name__", "check")
        try:
            yield from probe()
        except ForebayError as error:
            yield Finding(name, "fail", f"{error.code}: {error}", "mend what it names")
        except Exception as error:  # noqa: BLE001 - one broken probe must not hide the others
            seen = f"the check itself broke ({type(error).__name__})"
            yield Finding(name, "fail", seen, "report it, with the output of `forebay version`")

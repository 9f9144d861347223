"""The figures of `forebay tco`: in words, and as JSON data."""

from __future__ import annotations

import math
from typing import Any

from forebay.producers.cli.money.break_even import BreakEven


def document(found: BreakEven) -> dict[str, Any]:
    """Return the figures as JSON data."""
    return {
        "local_usd_per_million": found.local_usd, "frontier_usd_per_million": found.frontier_usd,
        "machine_usd_per_day": found.machine.usd_per_day,
        "machine_tokens_per_day": found.machine.tokens_per_day,
        "break_even_tokens_per_day": (
            None if math.isinf(found.tokens_per_day) else found.tokens_per_day
        ),
        "break_even_reachable": found.reachable, "saved_usd_per_day": found.saved_per_day,
        "pay_back_days": found.pay_back_days,
    }  # fmt: skip


def rows(found: BreakEven, against: str) -> dict[str, str]:
    """Return the figures in words."""
    machine, days = found.machine, found.pay_back_days
    reach = "" if found.reachable else (
        f" (more than the {amount(machine.most_per_day)} that one machine makes)"
    )  # fmt: skip
    life_days = machine.life_years * 365
    late = " (longer than its life)" if days is not None and days > life_days else ""
    return {
        "a million tokens here": f"${found.local_usd:,.4f}",
        "a million tokens there": f"${found.frontier_usd:,.4f}  ({against})",
        "the machine costs a day": f"${machine.usd_per_day:,.2f}",
        "and makes a day": f"{amount(machine.tokens_per_day)} tokens",
        "break-even": f"{amount(found.tokens_per_day)} tokens a day{reach}",
        "pay-back": "never" if days is None else f"{days:,.0f} days{late}",
    }


def amount(tokens: float) -> str:
    """Return a number of tokens for people: `1.6 billion`, `15.3 million`."""
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if tokens >= size:
            return f"{tokens / size:,.3g}{name}" if tokens < 1e12 else "more than a trillion"  # noqa: PLR2004 - readable
    return f"{tokens:,.0f}"

"""Make the jobs of a run: every kind and lane, valid and not; each text carries its own mark."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from books.content import DENY, OPEN
from forebay.routing.jobs import (
    Choice,
    Classify,
    Decide,
    Embed,
    Extract,
    Generate,
    Label,
    Message,
    Predicate,
    Request,
    Score,
    Summarize,
)
from storms.hostile_requests import hostile

POOLS = "\n".join(
    f'pools.{kind} = "echo"' for kind in ("classify", "extract", "summarize", "generate", "decide")
)
#: `echo` and `casual` use the echo engine, `model` uses llama.cpp. Nothing of `secretive` may
#: leave, whatever its jobs say.
POLICY = f"""
[defaults]
daily_budget_usd = inf
[fleet]
daily_budget_usd = inf
[tenants.echo]
{POOLS}
[tenants.casual]
when_shut = "degrade"
{POOLS}
[tenants.secretive]
force_deny = true
{POOLS}
[tenants.hostile]
force_deny = true
{POOLS}
"""
TENANTS = {"echo": 50, "casual": 20, "secretive": 12, "model": 18, "hostile": 1}
NUMBER = {
    "type": "object", "properties": {"customer": {"type": "string", "maxLength": 12}},
    "required": ["customer"], "additionalProperties": False,
}  # fmt: skip
RAMBLE = "We met at noon and talked for hours about this and that and nothing much else."
SHARES = 2  # producers in a run
SLOWER = 2  # the pace of the jobs after those of the run is a third: these have piled up work
ENOUGH = "enough"  # the file that ends the orders after those of the run
HOME = {"secretive", "hostile"}  # tenants whose jobs may not leave, whatever these say


@dataclass(frozen=True, slots=True)
class Order:
    """A job to submit `at` seconds from the start.

    Attributes:
        number: the position among the orders.
        options: the options of `Client.job`.
        again: submit the job a second time under the same idempotency key.
        cancel_s: cancel the job this many seconds later.
        stubborn: submit the job until it is accepted; otherwise a refusal ends it.
        fails: the codes of the errors with which this job may fail by its own fault.
    """

    number: int
    at: float
    tenant: str
    request: Request = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    again: bool
    cancel_s: float | None
    stubborn: bool
    fails: frozenset[str]


def orders(seed: int, jobs: int, span_s: float) -> Iterator[Order]:
    """Yield the jobs of a run, spread evenly over its span, and then more without an end.

    The producers submit those that follow until every named point has been met.
    """
    dice = random.Random(f"workload {seed}")
    for number in itertools.count():
        tenant = dice.choices(list(TENANTS), list(TENANTS.values()))[0]
        late = max(0, number - jobs)
        yield _order(dice, number, (number + SLOWER * late) * span_s / jobs, tenant)


def _order(dice: random.Random, number: int, at: float, tenant: str) -> Order:
    leaves = dice.random() < (0.1 if tenant == "model" else 0.55)
    mark = f"{OPEN if leaves and tenant not in HOME else DENY}{dice.randbytes(6).hex()}"
    make = dice.choices(*MAKERS.get(tenant, _ECHO))[0]
    request = make(dice, mark)
    options: dict[str, Any] = {
        "egress": "allow" if leaves else "deny",
        "priority": dice.choice(("interactive", "bulk")),
        "metadata": {"mark": mark},
        "cache": dice.random() < 0.05,
    }
    if leaves and tenant not in HOME and request.kind != "embed" and dice.random() < 0.35:
        options["lane"] = "bedrock"
    if dice.random() < 0.04:
        options["deadline"] = timedelta(seconds=dice.uniform(0.5, 6))
    if again := dice.random() < 0.04:
        options["idempotency_key"] = f"order {number}"
    cancel_s = dice.uniform(0, 3) if dice.random() < 0.04 else None
    fails = FAILS.get(make, frozenset())
    return Order(number, at, tenant, request, options, again, cancel_s, dice.random() < 0.8, fails)


def _chat(text: str, **options: Any) -> Generate:
    return Generate(messages=[Message(role="user", content=text)], **options)


def _classify(_: random.Random, mark: str) -> Request:
    labels = [Label(name="billing", description=f"Of money {mark}"), Label(name="access")]
    return Classify(text=f"My card was charged twice: billing {mark}", labels=labels)


def _extract(_: random.Random, mark: str) -> Request:
    return Extract(text=f"My customer number is C-20417. {mark}", schema=NUMBER)


def _summarize(_: random.Random, mark: str) -> Request:
    return Summarize(text=f"We met at noon. {mark}", max_words=20)


def _rambling(_: random.Random, mark: str) -> Request:
    """Return a request whose answer is too long, so that the job goes up if it may."""
    return Summarize(text=f"[[echo: say={RAMBLE}]] We met at noon. {mark}", max_words=5)


def _quick(_: random.Random, mark: str) -> Request:
    return _chat(f"Say so: {mark}", max_tokens=16)


def _slow(dice: random.Random, mark: str) -> Request:
    return _chat(f"[[echo: delay={dice.uniform(0.05, 0.3):.2f}]] {mark} {'word ' * 12}")


def _embed(_: random.Random, mark: str) -> Request:
    return Embed(texts=[f"The parcel is late. {mark}", mark])


def _decide(dice: random.Random, mark: str) -> Request:
    """Return a request of three questions; some answers are too unsure to stay."""
    sure = dice.choice(("", "", "[[echo: confidence=0.3]] "))
    questions = [
        Predicate(name="late", instructions=f"Is it late? {mark}", unsure=True),
        Choice(name=mark, instructions="Which part?", choices=["parcel", "invoice", mark]),
        Score(name="anger", instructions="How angry?", minimum=0, maximum=3),
    ]
    return Decide(state=f"{sure}The parcel is late. {mark}", questions=questions)


def _fatal(dice: random.Random, mark: str) -> Request:
    return _chat(f"[[echo: {dice.choice(('crash', 'crash', 'fail', 'hang'))}]] {mark}")


def _short(_: random.Random, mark: str) -> Request:
    return _chat(f"Say hello. {mark}", max_tokens=3)


def _hostile(dice: random.Random, mark: str) -> Request:
    """Return a request whose checks need a budget; a quick one if it is refused at once."""
    return hostile(dice, mark) or _quick(dice, mark)


#: With which codes the jobs of a maker may fail; those of the others fail by somebody's fault only.
FAILS = {
    _fatal: frozenset({"engine_died"}),
    _hostile: frozenset({"bad_answer", "invalid_job", "too_long"}),
}
_Makers = tuple[list[Callable[[random.Random, str], Request]], list[float]]
_ECHO: _Makers = (
    [_classify, _extract, _summarize, _rambling, _quick, _slow, _embed, _decide, _fatal],
    [15, 15, 12, 10, 20, 22, 6, 8, 0.25],
)
MAKERS: dict[str, _Makers] = {
    "model": ([_classify, _short], [3, 1]),
    "hostile": ([_hostile], [1]),
}

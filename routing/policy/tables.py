"""The small tables of `policy.toml`, and the types of its values."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    StringConstraints,
)

from forebay.routing.base import NANO
from forebay.routing.lanes import DEFAULT_POOL


def _share(value: object) -> float | Literal["none"]:
    """Return a share, or `none`. With a union type, errors would name its types in the key."""
    if value == "none":
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError('must be a number from 0 to 1, or "none"')
    return float(value)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # unknown, or a path
        raise ValueError("must be the name of a time zone, such as UTC or Europe/Berlin") from None
    return name


def _some_weight(shape: tuple[float, ...]) -> tuple[float, ...]:
    if not sum(shape):
        raise ValueError("must have a weight above 0 for at least one hour")
    return shape


#: Names of this machine, to which nothing needs to be encrypted.
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_local_http(url: str) -> bool:
    """Return whether a URL leads to this machine in the clear, as that of a mock does."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


_ADVERBS = {"hour": "hourly", "day": "daily", "month": "monthly"}

Zone = Annotated[str, AfterValidator(_zone)]
Probability = Annotated[float, Field(ge=0, le=1)]
Dollars = Annotated[float, Field(ge=0)]
Share = Annotated[float | Literal["none"], PlainValidator(_share)]
Pool = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
ModelId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:/_-]{0,199}$")]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
DayShape = Annotated[
    tuple[Weight, ...],
    Strict(strict=False),
    Field(min_length=24, max_length=24),
    AfterValidator(_some_weight),
]
ServiceTier = Literal["default", "flex", "priority"]
Effort = Literal["default", "low", "medium", "high", "xhigh", "max"]
Names = Annotated[tuple[ModelId, ...], Strict(strict=False)]  # TOML has arrays, not tuples


class Table(BaseModel):
    """Base of every table of the file: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    def over(self, base: Self) -> Self:
        """Return this table, with the keys that it does not set taken from `base`."""
        update: dict[str, Any] = {}
        for name in self.model_fields_set:
            below, value = getattr(base, name), getattr(self, name)
            update[name] = value.over(below) if isinstance(value, Table) else value
        return base.model_copy(update=update)


class Allowance(Table):
    """What may be spent on Bedrock in an hour, a day and a month.

    Attributes:
        hourly_budget_usd, daily_budget_usd, monthly_budget_usd: a call that might cost more than
            what is left of one of them is not made; `inf` sets no limit.
        hourly_alert_usd, daily_alert_usd, monthly_alert_usd: once so much is spent or reserved, an
            alert is logged; nothing is refused.
    """

    hourly_budget_usd: Dollars = math.inf
    daily_budget_usd: Dollars = math.inf
    monthly_budget_usd: Dollars = math.inf
    hourly_alert_usd: Dollars = math.inf
    daily_alert_usd: Dollars = math.inf
    monthly_alert_usd: Dollars = math.inf

    @property
    def daily_budget_nusd(self) -> int | None:
        """The budget a day in billionths of a dollar; None if there is no limit."""
        return self.hard("day")

    def hard(self, span: Literal["hour", "day", "month"]) -> int | None:
        """Return the budget in billionths of a dollar; None if there is no limit."""
        return dollars_to_nusd(getattr(self, f"{_ADVERBS[span]}_budget_usd"))

    def soft(self, span: Literal["hour", "day", "month"]) -> int | None:
        """Return the billionths of a dollar from which an alert is logged; None for no alert."""
        return dollars_to_nusd(getattr(self, f"{_ADVERBS[span]}_alert_usd"))


class ModelRules(Allowance):
    """What all tenants together may use of one model on Bedrock, beside what they may spend.

    Attributes:
        max_calls: calls that run at once; fewer while the service asks to slow down.
        requests_per_minute, tokens_per_minute: the account's quotas; without them the service
            alone says when it is too much.
    """

    max_calls: Annotated[int | None, Field(ge=1, le=100_000)] = None
    requests_per_minute: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = None
    tokens_per_minute: Annotated[int | None, Field(ge=1, le=1_000_000_000_000)] = None


def _url(url: str) -> str:
    """Return a URL without a slash at its end. Nothing goes in the clear to another machine."""
    parts = urlsplit(url)
    is_plain = not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
        raise ValueError("must be a URL such as https://models.example.com/v1, without a query")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must begin with https://, unless it names this machine")
    return url.rstrip("/")


class Endpoint(Table):
    """A service that speaks OpenAI's chat completions, whose models are `<endpoint>/<model>`.

    Attributes:
        url: what comes before `/chat/completions`.
        key_env: the environment variable of the bedrock workers that holds the key; empty for a
            service without keys.
        max_tokens_field: how the service names the limit of an answer.
    """

    url: Annotated[str, AfterValidator(_url)]
    key_env: Annotated[str, StringConstraints(pattern=r"^([A-Z][A-Z0-9_]{0,99})?$")] = ""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"


class Thresholds(Table):
    """By kind: below this probability that the local answer will do, a job skips the local lane."""

    classify: Probability = 0.5
    extract: Probability = 0.5
    summarize: Probability = 0.5
    generate: Probability = 0.5
    decide: Probability = 0.5


class ServiceTiers(Table):
    """By a job's priority: the service tier to ask for, where the model is offered in it."""

    interactive: ServiceTier = "default"
    bulk: ServiceTier = "default"


class MinProbability(Table):
    """By kind: the probability below which a local label or decision is not good enough.

    Of several decisions, the least certain counts.
    """

    classify: Probability = 0.6
    decide: Probability = 0.6


class SecondOpinion(Table):
    """By kind: up to this probability that the local answer will do, a job is answered twice.

    Attributes:
        prose: the same limit for free text of `generate` jobs, which only an embedding model can
            compare. Answers that come down to a number, a choice, yes or no fall under `generate`.
        deny_too: also for jobs that may not leave. If the two answers differ, the answer says so.
        stop_at_depth: give no second opinion while more jobs than this wait, per slot.
    """

    classify: Probability = 0.0
    extract: Probability = 0.9
    summarize: Probability = 0.0
    generate: Probability = 0.9
    decide: Probability = 0.0
    prose: Probability = 0.0
    deny_too: bool = False
    stop_at_depth: Annotated[float, Field(ge=0)] = 4.0


class MaxDoubt(Table):
    """By kind: the doubt above which an answer that had a second opinion is not kept."""

    classify: Probability = 0.5
    extract: Probability = 0.5
    summarize: Probability = 0.5
    generate: Probability = 0.5
    decide: Probability = 0.5


class Pools(Table):
    """By kind: the pool of local workers that answers it."""

    classify: Pool = DEFAULT_POOL
    extract: Pool = DEFAULT_POOL
    summarize: Pool = DEFAULT_POOL
    generate: Pool = DEFAULT_POOL
    decide: Pool = DEFAULT_POOL


class PacePolicy(Table):
    """The target for the jobs that may leave. If both a share and dollars are set, both hold.

    Attributes:
        share: target share of the jobs that may leave; `none` sets no target.
        usd_per_day: target in dollars a day (UTC) for all calls; `inf` sets no target.
        before: the largest part of these jobs that goes to Bedrock without a local answer.
        day_shape: how the dollars are spread over the day: a weight for each hour, from midnight.
    """

    share: Share = "none"
    usd_per_day: Dollars = math.inf
    before: Probability = 0.3
    day_shape: DayShape = (1.0,) * 24

    @property
    def usd_per_day_nusd(self) -> int | None:
        """The target a day in billionths of a dollar; None if there is none."""
        return dollars_to_nusd(self.usd_per_day)

    @property
    def is_set(self) -> bool:
        """True if there is a target."""
        return self.share != "none" or self.usd_per_day_nusd is not None


class AuditPolicy(Table):
    """Audits: kept local answers are compared with Bedrock's, to learn from them.

    Attributes:
        share: share of the kept answers that is audited, of jobs that may leave.
        usd_per_day: dollars a day (UTC) for audits; with `inf`, only the tenant's budget limits.
    """

    share: Probability = 0.0
    usd_per_day: Dollars = 1.0

    @property
    def usd_per_day_nusd(self) -> int | None:
        """The audit budget a day in billionths of a dollar; None if there is no limit."""
        return dollars_to_nusd(self.usd_per_day)


def dollars_to_nusd(dollars: float) -> int | None:
    """Return dollars in billionths; None if there is no limit."""
    nano = dollars * NANO
    return None if math.isinf(nano) else int(nano)

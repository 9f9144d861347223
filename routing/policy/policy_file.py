"""The operator's `policy.toml`: its model, its defaults, and a reader that follows the file.

`deploy/policy.toml` shows and explains every key.
"""

from __future__ import annotations

import logging
import math
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    StringConstraints,
)

from forebay.routing.base import NANO, Tenant
from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.lanes import DEFAULT_POOL, EMBED, local_queue
from forebay.routing.policy import toml

DEFAULT_MODEL = "anthropic.claude-haiku-5-5"

_log = logging.getLogger(__name__)


def _share(value: object) -> float | Literal["none"]:
    """Return a share, or `none`. With a union type, errors would name its types in the key."""
    if value == "none":
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError('must be a number from 0 to 1, or "none"')
    return float(value)


def _some_weight(shape: tuple[float, ...]) -> tuple[float, ...]:
    if not sum(shape):
        raise ValueError("must have a weight above 0 for at least one hour")
    return shape


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
Names = Annotated[tuple[ModelId, ...], Strict(strict=False)]  # TOML has arrays, not tuples


class _Table(BaseModel):
    """Base of every table of the file: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    def over(self, base: Self) -> Self:
        """Return this table, with the keys that it does not set taken from `base`."""
        update: dict[str, Any] = {}
        for name in self.model_fields_set:
            below, value = getattr(base, name), getattr(self, name)
            update[name] = value.over(below) if isinstance(value, _Table) else value
        return base.model_copy(update=update)


class Thresholds(_Table):
    """By kind: below this probability that the local answer will do, a job skips the local lane."""

    classify: Probability = 0.5
    extract: Probability = 0.5
    summarize: Probability = 0.5
    generate: Probability = 0.5


class MinProbability(_Table):
    """By kind: the probability below which a local label is not good enough."""

    classify: Probability = 0.6


class SecondOpinion(_Table):
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
    prose: Probability = 0.0
    deny_too: bool = False
    stop_at_depth: Annotated[float, Field(ge=0)] = 4.0


class MaxDoubt(_Table):
    """By kind: the doubt above which an answer that had a second opinion is not kept."""

    classify: Probability = 0.5
    extract: Probability = 0.5
    summarize: Probability = 0.5
    generate: Probability = 0.5


class Pools(_Table):
    """By kind: the pool of local workers that answers it."""

    classify: Pool = DEFAULT_POOL
    extract: Pool = DEFAULT_POOL
    summarize: Pool = DEFAULT_POOL
    generate: Pool = DEFAULT_POOL


class PacePolicy(_Table):
    """How many of the jobs that may leave go to Bedrock. If both targets are set, both hold.

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
        return _nusd(self.usd_per_day)


class AuditPolicy(_Table):
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
        return _nusd(self.usd_per_day)


class TenantPolicy(_Table):
    """The rules for one tenant.

    Attributes:
        force_deny: no content of the tenant leaves the building, whatever its jobs say.
        scan_secrets: content that looks like a secret does not leave, whatever its job says.
        models: ids of the models on Bedrock that may answer, the preferred model first.
        daily_budget_usd: dollars a day (UTC) on Bedrock; `inf` sets no limit.
        when_shut: while the spillway is shut, jobs `wait` for it, or `degrade` to a local answer.
    """

    force_deny: bool = False
    scan_secrets: bool = True
    models: Names = (DEFAULT_MODEL,)
    daily_budget_usd: Dollars = 10.0
    when_shut: Literal["wait", "degrade"] = "wait"
    thresholds: Thresholds = Thresholds()
    min_probability: MinProbability = MinProbability()
    second_opinion: SecondOpinion = SecondOpinion()
    max_doubt: MaxDoubt = MaxDoubt()
    pace: PacePolicy = PacePolicy()
    audit: AuditPolicy = AuditPolicy()
    pools: Pools = Pools()

    @property
    def daily_budget_nusd(self) -> int | None:
        """The budget a day in billionths of a dollar; None if there is no limit."""
        return _nusd(self.daily_budget_usd)

    def queue(self, job: Job) -> str:
        """Return the queue of the local lane for this job."""
        if job.kind == "embed":
            return EMBED
        pool: str = getattr(self.pools, job.kind)
        return local_queue(pool)


class Fleet(_Table):
    """The rules for all tenants together.

    Attributes:
        daily_budget_usd: dollars a day (UTC) on Bedrock for all tenants; `inf` sets no limit.
        model_prefixes: only models whose id begins with one of these prefixes are called, such as
            `eu.` to keep inference in one geography. An empty list allows every model.
    """

    daily_budget_usd: Dollars = 50.0
    model_prefixes: Names = ()

    @property
    def daily_budget_nusd(self) -> int | None:
        """The budget a day in billionths of a dollar; None if there is no limit."""
        return _nusd(self.daily_budget_usd)


class Policy(_Table):
    """The whole of `policy.toml`. A tenant's table only says what differs from `defaults`."""

    defaults: TenantPolicy = TenantPolicy()
    tenants: dict[Tenant, TenantPolicy] = Field(default_factory=dict)
    fleet: Fleet = Fleet()

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the policy in a file, or the defaults without a file.

        Raises:
            Misconfigured: Names the file and the key.
        """
        return cls() if path is None else toml.read(path, cls)

    @property
    def scans(self) -> bool:
        """True if the content of any tenant is scanned for secrets."""
        return any(self.tenant(name).scan_secrets for name in ("", *self.tenants))

    def tenant(self, name: str) -> TenantPolicy:
        """Return the rules for a tenant: its own table over the defaults."""
        return self._merged.get(name, self.defaults)

    @cached_property
    def _merged(self) -> dict[str, TenantPolicy]:
        return {name: table.over(self.defaults) for name, table in self.tenants.items()}

    def models(self, tenant: str) -> tuple[str, ...]:
        """Return the models on Bedrock that may answer this tenant, the preferred model first."""
        prefixes = self.fleet.model_prefixes
        named = self.tenant(tenant).models
        return tuple(model for model in named if not prefixes or model.startswith(prefixes))


class PolicyFile:
    """A policy that follows its file. A broken new version changes nothing and is logged once."""

    def __init__(self, path: Path | None) -> None:
        """Read the file; raise `Misconfigured` if it is broken from the start."""
        self._path = path
        self._stamp = _stamp(path)
        self._policy = Policy.load(path)

    def current(self) -> Policy:
        """Return the policy in force, after a cheap check of the file's dates."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()
        return self._policy

    def _reload(self) -> None:
        try:
            self._policy = Policy.load(self._path)
        except Misconfigured as error:
            _log.warning("the policy file is wrong, its last good version still applies: %s", error)
        else:
            _log.info("read the policy again from %s", self._path)


def _nusd(dollars: float) -> int | None:
    nano = dollars * NANO
    return None if math.isinf(nano) else int(nano)


def _stamp(path: Path | None) -> tuple[int, ...]:
    """Return what changes when the file changes; empty if there is no file."""
    try:
        stat = path.stat() if path else None
    except OSError:
        return ()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else ()

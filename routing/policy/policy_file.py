"""What operators say in `policy.toml`; without a file the defaults here hold.

`deploy/policy.toml` shows and explains every key.
"""

from __future__ import annotations

import logging
import math
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints

from forebay.routing.base import NANO, Tenant
from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.lanes import DEFAULT_POOL, EMBED, local_queue
from forebay.routing.policy import toml

DEFAULT_MODEL = "anthropic.claude-haiku-5-5"

_log = logging.getLogger(__name__)


def _some_weight(shape: tuple[float, ...]) -> tuple[float, ...]:
    if not sum(shape):
        raise ValueError("some hour must have a weight")
    return shape


Probability = Annotated[float, Field(ge=0, le=1)]
Dollars = Annotated[float, Field(ge=0)]
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
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Thresholds(_Table):
    """By kind: an allowed job less likely than this to be answered well locally is not tried."""

    classify: Probability = 0.5
    extract: Probability = 0.5
    summarize: Probability = 0.5
    generate: Probability = 0.5


class MinProbability(_Table):
    """By kind: an answer that the local lane is less sure of than this is not good enough."""

    classify: Probability = 0.6


class SecondOpinion(_Table):
    """By kind: a job no more likely than this to be answered well locally is answered twice there.

    Attributes:
        prose: likewise, for what a `generate` job says in free text, which comes down to no
            number, choice, yes or no, and which only an embedding model can compare.
        deny_too: also jobs that may not leave: where the two differ, the answer says so.
        stop_at_depth: no second opinion while more jobs wait than this, for each slot.
    """

    classify: Probability = 0.0
    extract: Probability = 0.9
    summarize: Probability = 0.0
    generate: Probability = 0.9
    prose: Probability = 0.0
    deny_too: bool = False
    stop_at_depth: Annotated[float, Field(ge=0)] = 4.0


class MaxDoubt(_Table):
    """By kind: an answer with a second opinion, and more likely wrong than this, will not do."""

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
    """How many jobs go up to Bedrock, of those that may; where both targets are set, both hold.

    Attributes:
        share: of the jobs that may leave; `none` is no target.
        usd_per_day: dollars a day (UTC) for all that goes up; `inf` is no target.
        before: at most this part of them goes before it was tried locally.
        day_shape: how the dollars are spread over the day: a weight for each of its hours.
    """

    share: Probability | Literal["none"] = "none"
    usd_per_day: Dollars = math.inf
    before: Probability = 0.3
    day_shape: DayShape = (1.0,) * 24

    @property
    def usd_per_day_nusd(self) -> int | None:
        """The dollars a day in billionths; none is no target."""
        return _nusd(self.usd_per_day)


class AuditPolicy(_Table):
    """Local answers that are kept and held against Bedrock's as well, to learn from them.

    Attributes:
        share: of the jobs that may leave and were answered well here.
        usd_per_day: dollars a day (UTC) for that; `inf` leaves it to the tenant's budget.
    """

    share: Probability = 0.0
    usd_per_day: Dollars = 1.0

    @property
    def usd_per_day_nusd(self) -> int | None:
        """The dollars a day in billionths; none is no limit of its own."""
        return _nusd(self.usd_per_day)


class TenantPolicy(_Table):
    """What holds for one tenant.

    Attributes:
        force_deny: no content of the tenant leaves the building, whatever its jobs say.
        scan_secrets: content that looks like a secret does not leave, whatever its job says.
        models: ids of the models on Bedrock that may answer, the preferred one first.
        daily_budget_usd: dollars a day (UTC) on Bedrock; `inf` is no limit.
        when_shut: what a job that belongs on Bedrock does while Bedrock is not to be had.
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
        """The budget in billionths of a dollar; none is no limit."""
        return _nusd(self.daily_budget_usd)

    def queue(self, job: Job) -> str:
        """The queue of the local lane for this job."""
        if job.kind == "embed":
            return EMBED
        pool: str = getattr(self.pools, job.kind)
        return local_queue(pool)


class Fleet(_Table):
    """What holds for all tenants together.

    Attributes:
        daily_budget_usd: as for a tenant, over all of them.
        model_prefixes: only models whose id begins with one of these are ever called (such as
            `eu.`, to keep inference in one geography); empty allows all.
    """

    daily_budget_usd: Dollars = 50.0
    model_prefixes: Names = ()

    @property
    def daily_budget_nusd(self) -> int | None:
        """The budget in billionths of a dollar; none is no limit."""
        return _nusd(self.daily_budget_usd)


class Policy(_Table):
    """All of `policy.toml`. A tenant's table need only say what differs from `defaults`."""

    defaults: TenantPolicy = TenantPolicy()
    tenants: dict[Tenant, TenantPolicy] = Field(default_factory=dict)
    fleet: Fleet = Fleet()

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The policy of a file, or the defaults.

        Raises:
            Misconfigured: Names the file, the line and the key.
        """
        return cls() if path is None else toml.read(path, cls)

    @property
    def scans(self) -> bool:
        """Whether any tenant's content is looked through for secrets."""
        return any(self.tenant(name).scan_secrets for name in ("", *self.tenants))

    def tenant(self, name: str) -> TenantPolicy:
        """What holds for this tenant: its own table over the defaults."""
        return self._whole.get(name, self.defaults)

    @cached_property
    def _whole(self) -> dict[str, TenantPolicy]:
        return {name: _over(self.defaults, own) for name, own in self.tenants.items()}

    def models(self, tenant: str) -> tuple[str, ...]:
        """The models on Bedrock that may answer this tenant, the preferred one first."""
        prefixes = self.fleet.model_prefixes
        named = self.tenant(tenant).models
        return tuple(model for model in named if not prefixes or model.startswith(prefixes))


class PolicyFile:
    """A policy that follows its file. A broken new version changes nothing, and is logged once."""

    def __init__(self, path: Path | None) -> None:
        """Read it; a file that is broken from the start raises `Misconfigured`."""
        self._path = path
        self._stamp = _stamp(path)
        self._policy = Policy.load(path)

    def current(self) -> Policy:
        """The policy in force now; a look at the file's dates, cheap enough for every job."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()
        return self._policy

    def _reload(self) -> None:
        try:
            self._policy = Policy.load(self._path)
        except Misconfigured as error:
            _log.warning("the policy file is wrong, its last good version holds: %s", error)
        else:
            _log.info("policy read again from %s", self._path)


T = TypeVar("T", bound=_Table)


def _over(base: T, own: T) -> T:
    """What a table says, over what another says where the first is silent."""
    said: dict[str, Any] = {}
    for name in own.model_fields_set:
        below, value = getattr(base, name), getattr(own, name)
        said[name] = _over(below, value) if isinstance(value, _Table) else value
    return base.model_copy(update=said)


def _nusd(dollars: float) -> int | None:
    nano = dollars * NANO
    return None if math.isinf(nano) else int(nano)


def _stamp(path: Path | None) -> tuple[int, ...]:
    try:
        found = path.stat() if path else None
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else ()

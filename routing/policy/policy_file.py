"""The operator's `policy.toml`: its model, its defaults, and a reader that follows the file.

`deploy/policy.toml` shows and explains every key.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from forebay.routing.base import Kind, Tenant
from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Job
from forebay.routing.lanes import EMBED, local_queue
from forebay.routing.logs import Event, event
from forebay.routing.policy import toml
from forebay.routing.policy.batch_table import BatchPolicy
from forebay.routing.policy.followed_file import FollowedFile
from forebay.routing.policy.tables import (
    Allowance,
    AuditPolicy,
    Dollars,
    Effort,
    Endpoint,
    MaxDoubt,
    MinProbability,
    ModelId,
    ModelRules,
    Names,
    PacePolicy,
    Pool,
    Pools,
    SecondOpinion,
    ServiceTiers,
    Table,
    Thresholds,
    Zone,
)

DEFAULT_MODEL = "anthropic.claude-haiku-5-5"

_log = logging.getLogger(__name__)


class TenantPolicy(Allowance):
    """The rules for one tenant, among them what it may spend on Bedrock.

    Attributes:
        force_deny: no content of the tenant leaves the building, whatever its jobs say.
        scan_secrets: content that looks like a secret does not leave, whatever its job says.
        models: ids of the models on Bedrock that may answer, the preferred model first.
        time_zone: whose hours, days and months the tenant's budgets count in.
        max_parts: a text to summarize or classify that is longer than the context of the model of
            its lane is answered in at most so many parts; 0 for not at all.
        count_tokens: have the service count a prompt's tokens before the money is reserved, which
            is free: `always`; `if_needed`, when the prompt's bytes alone would break a budget; or
            `never`.
        effort: how much effort to ask of a model that knows efforts.
        service_tier: the service tier to ask for.
        when_shut: while the spillway is shut, jobs `wait` for it, or `degrade` to a local answer.
    """

    force_deny: bool = False
    scan_secrets: bool = True
    models: Names = (DEFAULT_MODEL,)
    daily_budget_usd: Dollars = 10.0
    time_zone: Zone = "UTC"
    when_shut: Literal["wait", "degrade"] = "wait"
    max_parts: Annotated[int, Field(ge=0, le=1_000)] = 64
    count_tokens: Literal["never", "if_needed", "always"] = "if_needed"
    effort: Effort = "default"
    service_tier: ServiceTiers = ServiceTiers()
    thresholds: Thresholds = Thresholds()
    min_probability: MinProbability = MinProbability()
    second_opinion: SecondOpinion = SecondOpinion()
    max_doubt: MaxDoubt = MaxDoubt()
    pace: PacePolicy = PacePolicy()
    audit: AuditPolicy = AuditPolicy()
    pools: Pools = Pools()

    def queue(self, job: Job) -> str:
        """Return the queue of the local lane for this job."""
        return self.queue_of(job.kind)

    def queue_of(self, kind: Kind) -> str:
        """Return the queue of the local lane for jobs of this kind."""
        if kind == "embed":
            return EMBED
        pool: str = getattr(self.pools, kind)
        return local_queue(pool)

    def local_queues(self, kind: Kind) -> tuple[str, ...]:
        """Return the queues of the pools that may answer a kind of job, the usual one first."""
        if kind == "embed":
            return (EMBED,)
        pools: dict[str, str] = self.pools.model_dump()
        return tuple(dict.fromkeys(local_queue(pool) for pool in (pools[kind], *pools.values())))


class Fleet(Allowance):
    """The rules for all tenants together, among them what they may spend on Bedrock.

    Attributes:
        model_prefixes: only models whose id begins with one of these prefixes are called, such as
            `eu.` to keep inference in one geography. An empty list allows every model.
        time_zone: whose hours, days and months the budgets of fleet and models count in.
        models: what all tenants together may spend on one model, and use of it, by its id in
            `models`.
    """

    daily_budget_usd: Dollars = 50.0
    model_prefixes: Names = ()
    time_zone: Zone = "UTC"
    models: dict[ModelId, ModelRules] = Field(default_factory=dict)


class Policy(Table):
    """The whole of `policy.toml`. A tenant's table only says what differs from `defaults`.

    Attributes:
        profiles: the model behind each inference profile whose ARN does not tell it. That id
            decides on the price, the parameters and the prefix.
        endpoints: other services than Bedrock, each with its own key. A model of theirs is called
            only for tenants whose `models` name it, as `<endpoint>/<model>`.
        batch: what goes to Bedrock in batches.
    """

    defaults: TenantPolicy = TenantPolicy()
    tenants: dict[Tenant, TenantPolicy] = Field(default_factory=dict)
    fleet: Fleet = Fleet()
    profiles: dict[ModelId, ModelId] = Field(default_factory=dict)
    endpoints: dict[Pool, Endpoint] = Field(default_factory=dict)
    batch: BatchPolicy = BatchPolicy()

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the policy in a file, or the defaults without a file.

        Raises:
            Misconfigured: Names the file and the key.
        """
        return cls() if path is None else toml.read(path, cls, variable="FOREBAY_POLICY_FILE")

    @cached_property
    def version(self) -> str:
        """A short digest of all rules. It tells under which policy a decision was made."""
        rules = json.dumps(self.model_dump(), sort_keys=True, default=str)
        return hashlib.sha256(rules.encode()).hexdigest()[:12]

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
        named = self.tenant(tenant).models
        return tuple(model for model in named if self._has_prefix(model))

    def models_for(self, job: Job) -> tuple[str, ...]:
        """Return the models on Bedrock that may answer a job: only that which it names, if any."""
        models = self.models(job.tenant)
        return models if job.model is None else tuple({job.model}.intersection(models))

    def base_model(self, model: str) -> str:
        """Return the model behind an inference profile in `profiles`; any other id as it is."""
        return self.profiles.get(model, model)

    def endpoint(self, model: str) -> tuple[str, Endpoint] | None:
        """Return the name and the endpoint that serves a model; `None` if Bedrock does."""
        name, _, rest = model.partition("/")
        return (name, self.endpoints[name]) if rest and name in self.endpoints else None

    def all_models(self) -> frozenset[str]:
        """Return the models on Bedrock that may answer any tenant."""
        return frozenset(model for name in ("", *self.tenants) for model in self.models(name))

    def _has_prefix(self, model: str) -> bool:
        """Return True if the prefixes allow this id, or that of the model behind it."""
        prefixes, base = self.fleet.model_prefixes, self.base_model(model)
        names = {model, base, base.rpartition("/")[2]}
        if self.endpoint(model):  # a profile of Bedrock says where it is; such a name does not
            names = {model}
        return not prefixes or any(name.startswith(prefixes) for name in names)


class PolicyFile(FollowedFile[Policy]):
    """The policy in force."""

    look_every_s = 0.05  # each job asks for the policy several times

    def __init__(self, path: Path | None) -> None:
        """Read the file; raise `Misconfigured` if it is broken from the start."""
        super().__init__(path, partial(Policy.load, path))

    def _log_wrong(self, error: Misconfigured) -> None:
        _log.error(
            "the policy file is wrong, its last good version still applies: %s", error,
            extra=event(Event.POLICY_WRONG),
        )  # fmt: skip

    def _log_read(self, _before: Policy) -> None:
        _log.info("read the policy again from %s", self._path, extra=event(Event.POLICY_READ))

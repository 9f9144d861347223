"""Answers from the cache, given when a request comes, without a job.

Only for jobs that may not leave the building: these are answered by the local model, so its cached
answer is what a job would end with. It belongs to the job that made it and is forgotten with it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import redis

from forebay.producers.gateway.together import Together
from forebay.routing.base import KINDS, Kind
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Job
from forebay.routing.policy.egress import egress
from forebay.routing.policy.policy_file import PolicyFile, TenantPolicy
from forebay.routing.settings import Settings
from forebay.routing.store.answer_cache import AnswerCache
from forebay.routing.store.encryption import Seal
from forebay.routing.store.event_loop import run_blocking
from forebay.routing.store.fleet_secret import kept_secret
from forebay.routing.store.on_loop.loop_redis import LoopRedis
from forebay.routing.store.served_models import ServedModels, Signature

KEPT_S = 2.0  # so long the models of a queue are not asked for again
MAX_KEYS_PER_READ = 100


class CachedAnswers:
    """Looks jobs up in the answer cache. Whatever is not known is no answer, and never an error."""

    def __init__(self, client: LoopRedis, settings: Settings, policy: PolicyFile) -> None:
        self._redis = client
        self._settings, self._policy = settings, policy
        self._served = ServedModels(self._redis)
        self._cache: AnswerCache | None = None
        self._models: dict[str, tuple[dict[Kind, Signature], float]] = {}
        self._read = Together[str, Any](self._values, MAX_KEYS_PER_READ)

    async def find(self, job: Job) -> Answer | None:
        """Return the earlier answer to the same request by the model that would answer it now."""
        policy = self._policy.current()
        if not job.cache or job.lane == "bedrock" or job.idempotency_key is not None:
            return None
        if egress(job, policy) != "deny":
            return None
        try:
            model = await self._model_of(job, policy.tenant(job.tenant))
            cache = await self._opened() if model else None
            if cache is None or model is None:
                return None
            sealed = await self._read(cache.key(job, "deny", *model))
        except (ForebayError, redis.RedisError):
            return None
        return cache.read(sealed, job, "deny", *model)

    async def models(self, tenant: str, kinds: Collection[Kind] = KINDS) -> list[str]:
        """Return the models that answer jobs of these kinds in a tenant's pools now, by name."""
        rules, found = self._policy.current().tenant(tenant), set()
        try:
            for kind in kinds:
                for queue in rules.local_queues(kind):
                    if kind in (signatures := await self._models_of(queue)):
                        found.add(signatures[kind][0])
        except (ForebayError, redis.RedisError):
            return []
        return sorted(found)

    async def _model_of(self, job: Job, rules: TenantPolicy) -> Signature | None:
        """Return the model that would answer a job now, if it is known."""
        if job.model is None:
            return (await self._models_of(rules.queue(job))).get(job.kind)
        for queue in rules.local_queues(job.kind):
            found = (await self._models_of(queue)).get(job.kind)
            if found is not None and found[0] == job.model:
                return found
        return None

    async def _models_of(self, queue: str) -> dict[Kind, Signature]:
        models, until = self._models.get(queue, ({}, 0.0))
        if time.monotonic() >= until:
            models = await run_blocking(self._served.of, queue)
            self._models[queue] = models, time.monotonic() + KEPT_S
        return models

    async def _opened(self) -> AnswerCache | None:
        """Return the cache once its secret is known: the first worker makes it."""
        if self._cache is None:
            secret = await run_blocking(kept_secret, self._redis, self._settings)
            if secret is not None:
                seal, ttl_s = Seal.of(self._settings), self._settings.cache_s
                self._cache = AnswerCache(self._redis, secret, ttl_s, seal)
        return self._cache

    async def _values(self, keys: Sequence[str]) -> Sequence[Any]:
        return await run_blocking(self._redis.mget, list(keys))

"""What a process of the gateway does beside answering requests."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.concurrency import run_in_threadpool

from forebay.producers.gateway.batch_endpoints import openai_lines
from forebay.producers.gateway.batch_endpoints.anthropic_lines import MessageLines
from forebay.producers.gateway.batch_work.keeper import Keeper
from forebay.producers.gateway.batch_work.line_format import Desk, LineFormat
from forebay.producers.gateway.batch_work.working import Workbench
from forebay.producers.gateway.batches.batch import Batch
from forebay.producers.gateway.gateway import Gateway
from forebay.routing.base import KINDS
from forebay.routing.fleets import fence
from forebay.routing.store.served_models import ServedModels


def keeper_of(gateway: Gateway) -> Keeper:
    """Return the keeper that works batches in this process."""
    forms: dict[str, LineFormat] = {form.endpoint: form for form in openai_lines.FORMATS}
    forms[MessageLines.endpoint] = MessageLines()

    models = ServedModels(gateway.ledger.redis)

    def desk(batch: Batch) -> Desk:
        aliases, policy = gateway.settings.gateway_models, gateway.policy.current()
        rules = policy.tenant(batch.tenant)
        served = {kind: models.names(kind, rules.local_queues(kind)) for kind in KINDS}
        return Desk(batch.tenant, policy, aliases, batch.terms.egress, served)

    bench = Workbench(gateway.ledger, gateway.batches, gateway.files, forms, desk, gateway.tell_end)
    at_once = gateway.settings.gateway_batches_at_once
    return Keeper(bench, gateway.lease, at_once, partial(fence.leaves, gateway.redis))


class Background:
    """What runs beside the requests, for each gateway: a keeper of batches, and a courier."""

    def __init__(self) -> None:
        self._keepers: list[Keeper] = []
        self._couriers: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    def start(self, gateway: Gateway) -> None:
        """Start both for a gateway; any thread may call it."""
        keeper = keeper_of(gateway)
        keeper.start()
        self._keepers.append(keeper)
        self._loop.call_soon_threadsafe(self._start_courier, gateway)

    def _start_courier(self, gateway: Gateway) -> None:
        run = gateway.courier.run(gateway.lease("webhooks"))
        self._couriers.append(self._loop.create_task(run))

    async def stop(self) -> None:
        """Stop them all."""
        for courier in self._couriers:
            courier.cancel()
        for keeper in self._keepers:
            await run_in_threadpool(keeper.stop)

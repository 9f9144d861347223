"""What a process of the gateway does beside answering requests."""

from __future__ import annotations

from forebay.producers.gateway.batch_endpoints import openai_lines
from forebay.producers.gateway.batch_endpoints.anthropic_lines import MessageLines
from forebay.producers.gateway.batch_work.keeper import Keeper
from forebay.producers.gateway.batch_work.line_format import Desk, LineFormat
from forebay.producers.gateway.batch_work.working import Workbench
from forebay.producers.gateway.batches.batch import Batch
from forebay.producers.gateway.gateway import Gateway
from forebay.routing.base import KINDS
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
    return Keeper(bench, gateway.lease, gateway.settings.gateway_batches_at_once)

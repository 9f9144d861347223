"""What a process of the gateway does beside answering requests."""

from __future__ import annotations

from forebay.producers.gateway.batch_endpoints import openai_lines
from forebay.producers.gateway.batch_endpoints.anthropic_lines import MessageLines
from forebay.producers.gateway.batch_work.keeper import Keeper
from forebay.producers.gateway.batch_work.line_format import Desk, LineFormat
from forebay.producers.gateway.batch_work.working import Workbench
from forebay.producers.gateway.batches.batch import Batch
from forebay.producers.gateway.gateway import Gateway


def keeper_of(gateway: Gateway) -> Keeper:
    """Return the keeper that works batches in this process."""
    forms: dict[str, LineFormat] = {form.endpoint: form for form in openai_lines.FORMATS}
    forms[MessageLines.endpoint] = MessageLines()

    def desk(batch: Batch) -> Desk:
        aliases = gateway.settings.gateway_models
        return Desk(batch.tenant, gateway.policy.current(), aliases, batch.terms.egress)

    bench = Workbench(gateway.ledger, gateway.batches, gateway.files, forms, desk, gateway.tell_end)
    return Keeper(bench, gateway.lease, gateway.settings.gateway_batches_at_once)

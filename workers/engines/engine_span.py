"""The time that a request took in an engine, as a span of its job's trace."""

from __future__ import annotations

from forebay.routing.tracing import spans
from forebay.workers.engines.engine import Completion, EngineInfo


def record_span(info: EngineInfo, completion: Completion, began_ns: int) -> None:
    """Record a span with the engine's own times, if there is tracing."""
    if spans.tracing():
        spans.record(
            "forebay.engine", began_ns, gen_ai__request__model=info.model,
            forebay__engine=info.engine, gen_ai__usage__input_tokens=completion.tokens_in,
            gen_ai__usage__output_tokens=completion.tokens_out,
            gen_ai__response__finish_reason=completion.finish,
            forebay__queued_s=completion.queued_s, forebay__prefill_s=completion.prefill_s,
            forebay__decode_s=completion.decode_s,
        )  # fmt: skip

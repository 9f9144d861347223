"""A call to a provider as a span of the job's trace: the model and the tokens, never content."""

from __future__ import annotations

from forebay.routing.tracing import spans
from forebay.workers.engines.engine import TakeText
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.provider import Provider, Reply


def traced(provider: Provider, call: Call, on_text: TakeText | None = None) -> Reply:
    """Call a model once, as `Provider.call` says, and record the call as a span."""
    about = {"gen_ai__operation__name": "chat", "gen_ai__request__model": call.model}
    with spans.span(f"chat {call.model}", kind="client", forebay__call=call.id, **about) as span:
        reply = provider.call(
            call.prompt, call.model, call_id=call.id, terms=call.terms, on_text=on_text
        )
        if reply.usage is not None:
            span.set(
                gen_ai__usage__input_tokens=reply.usage.prompt,
                gen_ai__usage__output_tokens=reply.usage.output,
            )
        return reply

"""A call to a provider as a span of the job's trace: the model and the tokens, never content."""

from __future__ import annotations

from forebay.routing.tracing import spans
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.provider import Provider, Reply


def traced(provider: Provider, prompt: Prompt, model: str, call_id: str, base: str) -> Reply:
    """Call a model once, as `Provider.call` says, and record the call as a span."""
    about = {"gen_ai__operation__name": "chat", "gen_ai__request__model": model}
    with spans.span(f"chat {model}", kind="client", forebay__call=call_id, **about) as span:
        reply = provider.call(prompt, model, call_id=call_id, base=base)
        if reply.usage is not None:
            span.set(
                gen_ai__usage__input_tokens=reply.usage.prompt,
                gen_ai__usage__output_tokens=reply.usage.output,
            )
        return reply

"""Whom a call goes to: Bedrock, or an endpoint of the policy. Each call is a span of its trace."""

from __future__ import annotations

import threading

from forebay.routing.policy.tables import Endpoint
from forebay.routing.settings import read
from forebay.routing.tracing import spans
from forebay.workers.engines.engine import TakeText
from forebay.workers.frontier.calling.call import Call
from forebay.workers.frontier.provider import Provider, Reply, open_provider
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.frontier.terms import Terms


class Providers:
    """The fleet's provider, and one for each endpoint that a call has gone to."""

    def __init__(self, default: Provider) -> None:
        self._default = default
        self._lock = threading.Lock()
        self._of_endpoints: dict[tuple[str, Endpoint], Provider] = {}

    def of(self, terms: Terms) -> Provider:
        """Return the provider of a call.

        Raises:
            Misconfigured: The client library for endpoints is not installed.
        """
        if terms.endpoint is None:
            return self._default
        with self._lock:
            if terms.endpoint not in self._of_endpoints:
                opened = open_provider(read(BedrockSettings), terms.endpoint)
                self._of_endpoints[terms.endpoint] = opened
            return self._of_endpoints[terms.endpoint]

    def call(self, call: Call, on_text: TakeText | None = None) -> Reply:
        """Call a model once, as `Provider.call` says; the span tells its tokens, never content."""
        model = call.model
        about = {"gen_ai__operation__name": "chat", "gen_ai__request__model": model}
        with spans.span(f"chat {model}", kind="client", forebay__call=call.id, **about) as span:
            reply = self.of(call.terms).call(
                call.prompt, model, call_id=call.id, terms=call.terms, on_text=on_text
            )
            if reply.usage is not None:
                span.set(
                    gen_ai__usage__input_tokens=reply.usage.prompt,
                    gen_ai__usage__output_tokens=reply.usage.output,
                )
            return reply

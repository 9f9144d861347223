"""Whom a call goes to: Bedrock, or an endpoint of the policy."""

from __future__ import annotations

import threading

from forebay.routing.policy.tables import Endpoint
from forebay.routing.settings import read
from forebay.workers.frontier.provider import Provider, open_provider
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

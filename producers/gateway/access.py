"""Who asks, and whether they may: the API key of a request, its scope and its limits."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import Request

from forebay.producers.gateway.api_keys import SCOPES, ApiKey, Scope, refuse_slowly, split
from forebay.producers.gateway.errors import Forbidden, RateLimited, Unauthorized
from forebay.producers.gateway.fleets.gateways import Gateways
from forebay.producers.gateway.gateway import Gateway
from forebay.producers.gateway.rates import Take

KEY_KEPT_S = 0.5  # so long after its revocation a key may still let requests in
MAX_KEYS_KEPT = 10_000
_NO_KEY = "an API key is needed: send it as `Authorization: Bearer KEY` or as `x-api-key: KEY`"


@dataclass(slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        gateway: the gateway that was asked.
        tenant: whose jobs the caller may submit and read.
        scopes: what the caller may do.
        key: the caller's key; `None` if the gateway takes no keys.
        headers: of the response: what is left of the key's limits.
    """

    gateway: Gateway
    tenant: str
    scopes: tuple[Scope, ...]
    key: ApiKey | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def must(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the caller has this scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this API key does not have the scope `{scope}`")

    async def spend(self, tokens: int, requests: int = 1) -> None:
        """Take a request and its tokens from the limits of the key.

        Raises:
            RateLimited: The key has used up its minute.
        """
        key = self.key
        if key is None or not key.limited:
            return
        limits = key.requests_per_minute, key.tokens_per_minute
        taken = await self.gateway.take(Take(key.id, limits, requests, tokens))
        if taken.wait_s is not None:
            words = f"this API key has used up its {taken.lacking} of the minute"
            raise RateLimited(words, retry_after=taken.wait_s)
        lefts = zip(("requests", "tokens"), limits, (taken.requests, taken.tokens), strict=True)
        for name, limit, left in lefts:
            if limit is not None:
                self.headers[f"x-ratelimit-limit-{name}"] = str(limit)
                self.headers[f"x-ratelimit-remaining-{name}"] = str(max(0, left))

    def give_back(self, tokens: int) -> None:
        """Give back tokens that were taken and not used; take those used beyond the estimate.

        Nobody waits for that: what this process takes later from the same key comes after it.
        """
        key = self.key
        if key is not None and key.tokens_per_minute is not None and tokens:
            limits = key.requests_per_minute, key.tokens_per_minute
            self.gateway.later(self.gateway.take(Take(key.id, limits, 0, -tokens)))


class Doors:
    """Lets callers in by their keys. A key is looked up in Redis twice a second."""

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways
        self._kept: dict[str, tuple[ApiKey | None, float]] = {}

    @property
    def keyless(self) -> bool:
        """True if the gateway takes no keys: every request of this machine is one tenant's."""
        return self._gateways.settings.gateway_tenant is not None

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Return who sends a request with these headers.

        Raises:
            Unauthorized: There is no key, or the key does not work.
            Forbidden: The gateway takes no keys, and a page of another site sends the request.
        """
        tenant = self._gateways.settings.gateway_tenant
        if tenant is not None:
            _check_own_page(headers)
            return Caller(await self._gateways.of(tenant), tenant, SCOPES)
        token = _token(headers)
        if not token:
            raise Unauthorized(_NO_KEY)
        parts = split(token)
        key = await self.find(parts[0]) if parts else None
        if key is None:
            refuse_slowly(token)
        elif parts and key.lets_in(parts[1], datetime.now(UTC)):
            return Caller(await self._gateways.of(key.tenant), key.tenant, key.scopes, key)
        raise Unauthorized("this API key is not valid: `forebay keys create` makes one")

    async def find(self, key_id: str) -> ApiKey | None:
        """Return the record of a key, as of half a second ago at most; `None` if there is none."""
        kept = self._kept.get(key_id)
        if kept and time.monotonic() < kept[1]:
            return kept[0]
        key = await self._gateways.default.on_thread(self._gateways.find_key, key_id)
        if len(self._kept) >= MAX_KEYS_KEPT:  # somebody tries ids
            self._kept.clear()
        self._kept[key_id] = key, time.monotonic() + KEY_KEPT_S
        return key


async def caller(request: Request, scope: Scope) -> Caller:
    """Return who sends the request.

    Raises:
        Unauthorized: There is no key, or the key does not work.
        Forbidden: The key lacks the scope.
    """
    doors: Doors = request.app.state.doors
    found = await doors.caller(request.headers)
    found.must(scope)
    return found


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check_own_page(headers: Mapping[str, str]) -> None:
    """Refuse requests that a browser sends for a page of another site.

    Without keys, such a page could submit jobs, and under a name of its own that it has resolve to
    this machine (DNS rebinding) also read answers.
    """
    host = headers.get("host", "")
    if not _names_loopback(host) or headers.get("origin", f"http://{host}") != f"http://{host}":
        raise Forbidden("a gateway without keys answers its own address and its own pages only")


@lru_cache(maxsize=64)
def _names_loopback(host: str) -> bool:
    """Return whether a Host header names an address of this machine alone."""
    return is_loopback(urlsplit(f"//{host}").hostname or "")


def _token(headers: Mapping[str, str]) -> str:
    """Return the key that a request carries: OpenAI's clients and Anthropic's send it apart."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()

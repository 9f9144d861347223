"""Which prompts begin alike often enough that keeping their beginning in the prompt cache pays."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict

from forebay.routing.limits.prices import Prices
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.calling.call import BYTES_PER_TOKEN

#: How long a service keeps the beginning of a prompt after its last use.
KEPT_S = 300.0
MAX_PREFIXES = 4_096  # remembered of one worker process


class Prefixes:
    """Remembers the system prompts of the last minutes. Safe to share between threads.

    Writing to the cache costs more than plain input, so a system prompt is cached from its second
    use within five minutes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used_at: OrderedDict[bytes, float] = OrderedDict()

    def pays(self, prompt: Prompt, model: str, prices: Prices) -> bool:
        """Return whether to cache the system prompt of a call, and remember that it was used."""
        return may_pay(prompt, model, prices) and self._used_before(model, _system(prompt))

    def _used_before(self, model: str, system: str) -> bool:
        name, now = hashlib.sha256(f"{model}\n{system}".encode()).digest(), time.monotonic()
        with self._lock:
            before = self._used_at.pop(name, None)
            self._used_at[name] = now
            if len(self._used_at) > MAX_PREFIXES:
                self._used_at.popitem(last=False)
        return before is not None and now - before < KEPT_S


def may_pay(prompt: Prompt, model: str, prices: Prices) -> bool:
    """Return whether the system prompt is long enough to be cached, and the cache is cheaper."""
    smallest = prices.capabilities(model).cache_from
    if smallest is None or len(_system(prompt).encode()) < smallest * BYTES_PER_TOKEN:
        return False
    return prices.caching_pays(model)


def _system(prompt: Prompt) -> str:
    return "\n".join(turn.content for turn in prompt.messages if turn.role == "system")

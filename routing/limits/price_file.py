"""A price list that follows its file, so that a new price needs no restart."""

from __future__ import annotations

import logging
from pathlib import Path

from forebay.routing.errors import Misconfigured
from forebay.routing.limits.prices import Prices
from forebay.routing.logs import Event, event
from forebay.routing.policy.toml import stamp

_log = logging.getLogger(__name__)


class PriceFile:
    """The prices in force. A broken new version changes nothing and is logged once."""

    def __init__(self, path: Path | None) -> None:
        """Read the file; raise `Misconfigured` if it is broken from the start."""
        self._path = path
        self._stamp = stamp(path)
        self._prices = Prices.load(path)

    def current(self) -> Prices:
        """Return the prices in force, after a cheap check of the file's dates."""
        now = stamp(self._path)
        if now != self._stamp:
            self._stamp = now
            self._reload()
        return self._prices

    def _reload(self) -> None:
        try:
            prices = Prices.load(self._path)
        except Misconfigured as error:
            _log.error(
                "the price file is wrong, the prices of %s still apply: %s",
                self._prices.version, error,
                extra=event(Event.PRICES_WRONG),
            )  # fmt: skip
            return
        if prices.version != self._prices.version:
            self._prices = prices
            text = "the prices of %s apply from now on"
            _log.info(text, prices.version, extra=event(Event.PRICES_READ))

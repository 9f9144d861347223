"""A price list that follows its file, so that a new price needs no restart."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from forebay.routing.errors import Misconfigured
from forebay.routing.limits.prices import Prices
from forebay.routing.logs import Event, event
from forebay.routing.policy.followed_file import FollowedFile

_log = logging.getLogger(__name__)


class PriceFile(FollowedFile[Prices]):
    """The prices in force."""

    look_every_s = 0.0

    def __init__(self, path: Path | None) -> None:
        """Read the file; raise `Misconfigured` if it is broken from the start."""
        super().__init__(path, partial(Prices.load, path))

    def _log_wrong(self, error: Misconfigured) -> None:
        _log.error(
            "the price file is wrong, the prices of %s still apply: %s",
            self._value.version, error,
            extra=event(Event.PRICES_WRONG),
        )  # fmt: skip

    def _log_read(self, before: Prices) -> None:
        if self._value.version != before.version:
            text = "the prices of %s apply from now on"
            _log.info(text, self._value.version, extra=event(Event.PRICES_READ))

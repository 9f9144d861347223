"""Compute what a call to Bedrock costs, from a dated price list (`prices.toml`).

Costs are whole billionths of a dollar, rounded up, so that a reservation covers the bill. All
arithmetic is exact.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from forebay.routing.errors import NoPrice
from forebay.routing.policy import toml
from forebay.routing.policy.capabilities import Capabilities, Listed, assumed

Tier = Literal["default", "flex", "priority", "reserved", "batch"]
Dollars = Annotated[Decimal, Field(ge=0, le=100_000, allow_inf_nan=False)]
Factor = Annotated[Decimal, Field(gt=0, le=100, allow_inf_nan=False)]

#: One dollar per million tokens, in billionths of a dollar per token.
_NUSD_PER_TOKEN = 1_000

#: The setting that names the file.
VARIABLE = "FOREBAY_PRICES_FILE"

_PACKAGED = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, as Bedrock counts them: `input` excludes cached tokens."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """All tokens of the prompt, cached or not; they select the band."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


class Band(Listed):
    """Dollars per million tokens, for calls whose prompt has more than `above` tokens.

    Cache prices default to the input price.
    """

    above: int = Field(ge=0)
    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write_5m: Dollars | None = None
    cache_write_1h: Dollars | None = None

    @model_validator(mode="after")
    def _cache_read_costs_no_more(self) -> Self:
        if self.cache_read is not None and self.cache_read > self.input:
            raise ValueError("must list a cache_read of at most input")
        return self

    @property
    def caching_pays(self) -> bool:
        """True if a token that is read from the cache costs less than one that is not."""
        return self.cache_read is not None and self.cache_read < self.input

    def price(self, usage: Usage) -> Fraction:
        """Return the price of these tokens in billionths of a dollar, before any factor."""
        cached = (
            (usage.cache_read, self.cache_read),
            (usage.cache_write_5m, self.cache_write_5m),
            (usage.cache_write_1h, self.cache_write_1h),
        )
        dollars = usage.input * Fraction(self.input) + usage.output * Fraction(self.output)
        dollars += sum(
            tokens * Fraction(self.input if listed is None else listed) for tokens, listed in cached
        )
        return dollars * _NUSD_PER_TOKEN


def _ascending(bands: tuple[Band, ...]) -> tuple[Band, ...]:
    starts = [band.above for band in bands]
    if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
        raise ValueError("must begin with a band above = 0, and ascend")
    return bands


class Model(Listed):
    """The prices of one model, and what it can; `prices.toml` explains each key."""

    bands: Annotated[tuple[Band, ...], AfterValidator(_ascending)]
    tiers: dict[Tier, Factor] = Field(default_factory=dict)
    by_geography: bool = False
    can: Capabilities | None = None

    def bands_up_to(self, prompt: int) -> tuple[Band, ...]:
        """Return the bands that a prompt of up to `prompt` tokens can fall into, its own last."""
        return tuple(band for band in self.bands if band.above < max(prompt, 1))

    def factor(self, tier: Tier) -> Fraction | None:
        """Return the factor of a tier, or None if the model is not offered in it."""
        listed = self.tiers.get(tier)
        if listed is not None:
            return Fraction(listed)
        return Fraction(1) if tier == "default" else None


def _has_region(factors: dict[str, Decimal]) -> dict[str, Decimal]:
    if "region" not in factors:
        raise ValueError("must have a factor for `region`")
    return factors


class Prices(Listed):
    """A price list.

    Attributes:
        date: the day on which the prices were read; every cost is by this day's prices.
        geography: factor by the prefix of an inference profile; `region` for a bare model id. A
            profile whose prefix is not listed has no price.
        models: by the model id without a geography's prefix.
    """

    date: date
    geography: Annotated[dict[str, Factor], AfterValidator(_has_region)]
    models: dict[str, Model] = Field(min_length=1)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the price list in a file, or the packaged list.

        Raises:
            Misconfigured: Names the file and the key that is wrong.
        """
        # As a float, 0.1 is inexact.
        return toml.read(path or _PACKAGED, cls, parse_float=Decimal, variable=VARIABLE)

    @classmethod
    @cache
    def packaged(cls) -> Self:
        """Return the packaged price list."""
        return cls.load()

    @cached_property
    def version(self) -> str:
        """The date of the list and a short digest of it, under which costs are booked."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]
        return f"{self.date}-{digest}"

    def only(self, model: str) -> Self:
        """Return a list of this model's prices alone."""
        bare = self._split(model)[1]
        models = {name: listed for name, listed in self.models.items() if name == bare}
        return self.model_copy(update={"models": models})

    def has(self, model: str) -> bool:
        """Return True if a price is listed for the model in its geography."""
        geography, bare = self._split(model)
        return geography in self.geography and bare in self.models

    def cost(self, model: str, usage: Usage, *, tier: Tier = "default") -> int:
        """Return the cost of a call with this usage in billionths of a dollar, rounded up.

        Raises:
            NoPrice: The list has no price for the model, or not in this tier.
        """
        listed, factor = self._find(model, tier)
        return math.ceil(listed.bands_up_to(usage.prompt)[-1].price(usage) * factor)

    def capabilities(self, model: str) -> Capabilities:
        """Return what a model can, as the list says; else the packaged list, else its family."""
        bare = self._split(model)[1]
        listed = self.models.get(bare)
        if listed is not None and listed.can is not None:
            return listed.can
        packaged = self.packaged().models.get(bare)
        return (packaged and packaged.can) or assumed(model)

    def offers(self, model: str, tier: Tier) -> bool:
        """Return True if a price is listed for the model in this tier."""
        listed = self.models.get(self._split(model)[1])
        return listed is not None and listed.factor(tier) is not None

    def caching_pays(self, model: str) -> bool:
        """Return True if what is read from the model's prompt cache costs less than input."""
        listed = self.models.get(self._split(model)[1])
        return listed is not None and all(band.caching_pays for band in listed.bands)

    def worst_case(
        self,
        model: str,
        tokens_in: int,
        max_tokens: int,
        *,
        tier: Tier = "default",
        caches: bool = False,
    ) -> int:
        """Return the highest cost of a call with at most these tokens, as `cost` does.

        A call in another tier may be served, and billed, in the default one, except in a batch.
        `caches` says that the call may write its prompt to the prompt cache; cache reads never cost
        more than input.

        Raises:
            NoPrice: The list has no price for the model, or not in this tier.
        """
        listed, factor = self._find(model, tier)
        if tier != "batch":
            factor = max(factor, self._find(model, "default")[1])
        usages = [Usage(input=tokens_in, output=max_tokens)]
        if caches:
            usages.append(Usage(cache_write_5m=tokens_in, output=max_tokens))
        # A shorter prompt may fall into a lower band, which need not be the cheaper band.
        highest = max(
            band.price(usage) for band in listed.bands_up_to(tokens_in) for usage in usages
        )
        return math.ceil(highest * factor)

    def bare(self, model: str) -> str:
        """Return the id of a model without the geography of an inference profile."""
        name = model.rpartition("/")[2]
        prefix, _, rest = name.partition(".")
        return rest if prefix in self.geography and "." in rest else name

    def _find(self, model: str, tier: Tier) -> tuple[Model, Fraction]:
        """Return the prices of a model and the product of its factors."""
        geography, bare = self._split(model)
        listed = self.models.get(bare)
        if listed is None:
            message = f"no price is listed for {model[:200]!r}; add it to the prices file"
            raise NoPrice(message, field="model")
        if geography not in self.geography:
            message = (
                f"no price is listed for the geography of {model[:200]!r}; add "
                f"`{geography}` to [geography] in the prices file"
            )
            raise NoPrice(message, field="model")
        factor = listed.factor(tier)
        if factor is None:
            message = (
                f"no price is listed for {model!r} in tier {tier}; add it to the model's tiers"
            )
            raise NoPrice(message, field="model")
        if listed.by_geography:
            factor *= Fraction(self.geography[geography])
        return listed, factor

    def _split(self, model: str) -> tuple[str, str]:
        """Return geography and bare id of a model id, or of a system inference profile's ARN.

        The geography of a bare id is `region`, and so is that of a model of an endpoint.
        """
        if model in self.models:
            return "region", model
        name = model.rpartition("/")[2]
        prefix, _, rest = name.partition(".")
        if name in self.models or rest not in self.models:
            return "region", name
        return prefix, rest

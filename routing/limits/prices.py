"""What a call to Bedrock costs, from a dated price list (`prices.toml`).

Money is counted in whole billionths of a dollar and always rounded up, so that what is reserved
covers what is billed. All arithmetic is exact.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from forebay.routing.base import first_error
from forebay.routing.errors import Misconfigured

Tier = Literal["default", "flex", "priority", "reserved", "batch"]
Dollars = Annotated[Decimal, Field(ge=0, le=100_000, allow_inf_nan=False)]
Factor = Annotated[Decimal, Field(gt=0, le=100, allow_inf_nan=False)]

#: A dollar per million tokens is so many billionths of a dollar per token.
_NUSD_PER_TOKEN = 1_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as Bedrock counts them: `input` leaves out what the cache served."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """All tokens of the prompt, cached or not; decides the band."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


class _Listed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Band(_Listed):
    """Dollars per million tokens, for calls whose prompt has more than `above` tokens.

    A price of the cache that is not listed is that of the input.
    """

    above: int = Field(ge=0)
    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write_5m: Dollars | None = None
    cache_write_1h: Dollars | None = None

    @model_validator(mode="after")
    def _reading_is_no_dearer(self) -> Self:
        if self.cache_read is not None and self.cache_read > self.input:
            raise ValueError("cache_read must not cost more than input")
        return self

    def price(self, usage: Usage) -> Fraction:
        """Billionths of a dollar for these tokens, before any factor."""
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


class Model(_Listed):
    """The prices of one model; see `prices.toml` for what each key means."""

    bands: tuple[Band, ...] = Field(min_length=1)
    tiers: dict[Tier, Factor] = Field(default_factory=dict)
    by_geography: bool = False

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        starts = [band.above for band in self.bands]
        if starts[0] != 0 or sorted(set(starts)) != starts:
            raise ValueError("bands must begin above = 0 and ascend")
        return self

    def bands_up_to(self, prompt: int) -> tuple[Band, ...]:
        """The bands that a prompt of at most so many tokens can fall into, its own one last."""
        return tuple(band for band in self.bands if band.above < max(prompt, 1))

    def factor(self, tier: Tier) -> Fraction | None:
        """The tier's factor, or none where the model is not offered in it."""
        listed = self.tiers.get(tier)
        if listed is not None:
            return Fraction(listed)
        return Fraction(1) if tier == "default" else None


class Prices(_Listed):
    """A price list.

    Attributes:
        date: the day it was read; every cost is by this day's prices.
        geography: factor by the prefix of an inference profile; `region` for a bare model id.
        models: by the id without a geography's prefix.
    """

    date: date
    geography: dict[str, Factor]
    models: dict[str, Model] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_region(self) -> Self:
        if "region" not in self.geography:
            raise ValueError("geography must have a factor for region")
        return self

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read a price list, or the packaged one.

        Raises:
            Misconfigured: Names the file and the key that is wrong.
        """
        source = path or resources.files("forebay.routing.limits") / "prices.toml"
        try:
            # Decimal, because 0.1 is not a tenth as a float.
            return cls(**tomllib.loads(source.read_text("utf-8"), parse_float=Decimal))
        except OSError as error:
            raise Misconfigured(f"cannot read {source}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Misconfigured(f"{source} is not TOML: {error}") from None
        except ValidationError as error:
            first = first_error(error)
            raise Misconfigured(f"{first.message}, in {source}", field=first.field) from None
        except (ValueError, ArithmeticError, RecursionError):
            raise Misconfigured(f"{source} has a value too large or nested too deeply") from None

    def cost(self, model: str, usage: Usage, *, tier: Tier = "default") -> int:
        """Billionths of a dollar that a call with this usage costs, rounded up.

        Raises:
            Misconfigured: The list has no price for the model, or not in this tier.
        """
        listed, factor = self._find(model, tier)
        return math.ceil(listed.bands_up_to(usage.prompt)[-1].price(usage) * factor)

    def worst_case(
        self, model: str, tokens_in: int, max_tokens: int, *, tier: Tier = "default"
    ) -> int:
        """Billionths of a dollar that a call with at most these tokens can cost, rounded up.

        Holds for a call that asks for no writes to the prompt cache. Reads of the cache never
        cost more than input.

        Raises:
            Misconfigured: The list has no price for the model, or not in this tier.
        """
        listed, factor = self._find(model, tier)
        usage = Usage(input=tokens_in, output=max_tokens)
        # A shorter prompt may fall into a lower band, which need not be the cheaper one.
        dearest = max(band.price(usage) for band in listed.bands_up_to(tokens_in))
        return math.ceil(dearest * factor)

    def _find(self, model: str, tier: Tier) -> tuple[Model, Fraction]:
        geography, bare = self._split(model)
        listed = self.models.get(bare)
        if listed is None:
            raise Misconfigured(f"no price is listed for model {model[:200]!r}", field="model")
        factor = listed.factor(tier)
        if factor is None:
            raise Misconfigured(f"no price is listed for {model!r} in tier {tier}", field="model")
        if listed.by_geography:
            factor *= Fraction(self.geography[geography])
        return listed, factor

    def _split(self, model: str) -> tuple[str, str]:
        """Geography and bare id of a model id or of the ARN of a system inference profile."""
        name = model.rpartition("/")[2]
        prefix, _, rest = name.partition(".")
        if name not in self.models and prefix in self.geography and prefix != "region":
            return prefix, rest
        return "region", name

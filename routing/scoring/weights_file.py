"""What is fitted and shipped: what a file of weights is made of, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forebay.routing.base import first_error
from forebay.routing.errors import Misconfigured


class StrictModel(BaseModel):
    """Base of what a file of weights is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WeightsFile(StrictModel):
    """Base of what a whole file of weights holds."""

    version: str = Field(min_length=1, max_length=60)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The weights in a file.

        Raises:
            Misconfigured: It cannot be read, or does not hold such weights; names the first field
                that is wrong.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None
        except ValidationError as error:
            first = first_error(error)
            raise Misconfigured(f"{first.message} ({path})", field=first.field) from None

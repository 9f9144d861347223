"""A reservation of money for one call, as it is stored, and the settlement that ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

CallState = Literal["open", "settled", "released"]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The money of one call. `age_s` is the time since it was reserved, in seconds."""

    call_id: str
    job_id: str
    tenant: str
    state: CallState
    reserved_nusd: int
    settled_nusd: int
    age_s: float

    @classmethod
    def read(cls, call_id: str, fields: dict[str, str], now: float) -> Self:
        """Read a reservation from its fields in Redis; `now` is the Unix time there."""
        return cls(
            call_id=call_id,
            job_id=fields.get("job", ""),
            tenant=fields["tenant"],
            state=fields["state"],  # type: ignore[arg-type]  # written by our scripts alone
            reserved_nusd=int(fields.get("reserved", 0)),
            settled_nusd=int(fields["settled"]),
            age_s=now - int(fields["at"]) / 1_000 if "at" in fields else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """The cost of a call, and what the book of calls keeps of its bill."""

    call_id: str
    nusd: int
    bill: Mapping[str, Any] = field(default_factory=dict)

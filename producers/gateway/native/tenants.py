"""`/tenants/me`: what the caller's tenant may do, and what is left of its budget and limits."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.api_keys import Scope
from forebay.producers.gateway.documents import documented_natively
from forebay.producers.gateway.wire import respond
from forebay.routing.base import NANO

router = APIRouter(prefix="/tenants", tags=["Tenants"])


class KeyInfo(TypedDict):
    """The key that was used. A limit of `null` is none."""

    id: str
    name: str
    expires: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None


class BudgetToday(TypedDict):
    """Dollars on Bedrock today (UTC). A `limit_usd` of `null` sets no limit."""

    limit_usd: float | None
    spent_usd: float
    reserved_usd: float
    left_usd: float | None


class TenantInfo(TypedDict):
    """What a tenant may do."""

    tenant: str
    scopes: list[Scope]
    key: KeyInfo | None
    may_leave: bool
    models: list[str]
    budget: BudgetToday


@router.get("/me", **documented_natively(None, TenantInfo))
async def get_tenant(request: Request) -> Response:
    """Return what the caller's tenant may do, and what is left of its budget."""
    by = await caller(request, "read")
    policy = by.gateway.policy.current()
    rules = policy.tenant(by.tenant)
    info: TenantInfo = {
        "tenant": by.tenant,
        "scopes": list(by.scopes),
        "key": _key(by),
        "may_leave": not rules.force_deny and bool(policy.models(by.tenant)),
        "models": list(policy.models(by.tenant)),
        "budget": await _budget(by, rules.daily_budget_nusd),
    }
    return respond(info, {})


def _key(by: Caller) -> KeyInfo | None:
    key = by.key
    if key is None:
        return None
    return {
        "id": key.id,
        "name": key.name,
        "expires": key.expires.isoformat() if key.expires else None,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
    }


async def _budget(by: Caller, limit: int | None) -> BudgetToday:
    settled, reserved = await by.gateway.on_thread(by.gateway.budget.spent, by.tenant)
    left = None if limit is None else max(0, limit - settled - reserved) / NANO
    return {
        "limit_usd": None if limit is None else limit / NANO,
        "spent_usd": settled / NANO,
        "reserved_usd": reserved / NANO,
        "left_usd": left,
    }

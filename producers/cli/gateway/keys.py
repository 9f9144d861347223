"""The commands `forebay keys …`: create, list, rotate and revoke the API keys of the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from forebay.producers.cli import display
from forebay.producers.cli.clients import current_tenant
from forebay.producers.cli.gateway.spans import read_span
from forebay.producers.cli.operator.readers import open_readers
from forebay.routing.errors import Misconfigured, NotFound
from forebay.routing.terminal.options import Json, argument, group, option, tenant_option

if TYPE_CHECKING:
    from forebay.producers.gateway.api_keys import ApiKey, KeyStore

_HEADER = ("ID", "TENANT", "NAME", "SCOPES", "REQUESTS/MIN", "TOKENS/MIN", "CREATED", "EXPIRES")

app = group("Create, list, rotate or revoke API keys of the gateway.")

Owner = Annotated[
    str | None,
    option(
        "--tenant", "NAME", "Whose jobs the key is for. Default: FOREBAY_TENANT, else `default`."
    ),
]
OfTenant = Annotated[str | None, tenant_option("Only keys of this tenant.")]
KeyId = Annotated[str, argument("ID", "The id of the key, as `list` shows it.")]
Name = Annotated[str, option("--name", "NAME", "What you call the key.")]
Scopes = Annotated[
    list[str] | None,
    option(
        "--scope",
        "submit|read|admin|operator",
        "What the key may do. May be repeated. Default: submit and read",
    ),
]
Expires = Annotated[
    str | None, option("--expires", "SPAN", "The key ends then: 12h or 90d from now.")
]
Requests = Annotated[int | None, option("--requests-per-minute", "N", "Default: no limit", min=1)]
Tokens = Annotated[int | None, option("--tokens-per-minute", "N", "Default: no limit", min=1)]
Overlap = Annotated[
    str | None, option("--overlap", "SPAN", "So long the old key works too. Default: 0s")
]


#: The options by which a user knows the fields of a key.
_OPTIONS = {"tenant": "--tenant", "name": "--name", "scopes": "--scope", "expires": "--expires"}


@contextmanager
def _options_named() -> Iterator[None]:
    """Name an option in an error about a field of a key."""
    try:
        yield
    except Misconfigured as error:
        error.field = _OPTIONS.get(error.field or "", error.field)
        raise


@app.command()
def create(
    *,
    tenant: Owner = None,
    name: Name = "",
    scope: Scopes = None,
    expires: Expires = None,
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it. It is stored as a digest only, so nobody can print it again."""
    with _store_of(current_tenant(tenant)) as store, _options_named():
        key, token = store.create(
            current_tenant(tenant), name=name, scopes=scope or ("submit", "read"),
            expires_in=read_span(expires, "--expires"), requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )  # fmt: skip
    _print(key, token, as_json=as_json)


@app.command("list")
def print_list(*, tenant: OfTenant = None, as_json: Json = False) -> None:
    """List the keys of all tenants, or of one. Shows no key itself."""
    keys = [key for store in _stores() for key in store.list(tenant)]
    if as_json:
        display.document([key.public() for key in keys])
    elif keys:
        display.table(_HEADER, [_cells(key) for key in keys])
    else:
        display.note("no keys; `forebay keys create` makes one")


@app.command()
def rotate(key_id: KeyId, *, overlap: Overlap = None, as_json: Json = False) -> None:
    """Give a key a new secret and print the new key."""
    span = read_span(overlap, "--overlap") or timedelta()
    key, token = _store_with(key_id).rotate(key_id, span)
    _print(key, token, as_json=as_json)


@app.command()
def revoke(key_id: KeyId, *, as_json: Json = False) -> None:
    """Delete a key. Within half a second no gateway lets it in any more."""
    if not _store_with(key_id).revoke(key_id):
        raise NotFound("no such key; `forebay keys list` shows all", field="id")
    display.result({"id": key_id, "revoked": True}, "revoked", as_json=as_json)


def _stores() -> list[KeyStore]:
    """Return the keys of each fleet."""
    from forebay.producers.gateway.api_keys import KeyStore  # noqa: PLC0415 - pydantic is slow

    return [KeyStore(reader.redis) for reader in open_readers().values()]


def _store_with(key_id: str) -> KeyStore:
    """Return the keys among which a key is; the first ones for a key that none has."""
    stores = _stores()
    return next((store for store in stores if store.find(key_id)), stores[0])


@contextmanager
def _store_of(tenant: str) -> Iterator[KeyStore]:
    """Yield the keys of a tenant's fleet."""
    from forebay.producers.gateway.api_keys import KeyStore  # noqa: PLC0415 - pydantic is slow
    from forebay.routing.fleets.opening import open_ledger  # noqa: PLC0415 - likewise
    from forebay.routing.settings import read_settings  # noqa: PLC0415 - likewise
    from forebay.routing.store.connection import connect  # noqa: PLC0415 - likewise

    client = open_ledger(read_settings(), tenant, connect).redis
    try:
        yield KeyStore(client)
    finally:
        client.close()


def _print(key: ApiKey, token: str, *, as_json: bool) -> None:
    if as_json:
        display.document({**key.public(), "key": token})
        return
    display.text(token)
    display.note(f"key {key.id} of tenant {key.tenant}: {', '.join(key.scopes)}")


def _cells(key: ApiKey) -> tuple[str, ...]:
    """Return one key under `_HEADER`."""
    limits = (key.requests_per_minute, key.tokens_per_minute)
    ends = key.expires.isoformat(timespec="seconds") if key.expires else "never"
    return (
        key.id, key.tenant, key.name or "-", ",".join(key.scopes),
        *(str(limit) if limit else "-" for limit in limits),
        key.created.isoformat(timespec="seconds"), ends,
    )  # fmt: skip

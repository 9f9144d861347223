"""Who looks at the page: API keys sign in by a form, and a signed cookie stands for them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie

from forebay.producers.gateway.access import Caller, Doors
from forebay.producers.gateway.api_keys import ApiKey, Scope
from forebay.producers.gateway.errors import Forbidden, Unauthorized

COOKIE = "forebay_status"
SESSION_S = 12 * 3600  # so long a person stays signed in
NEEDED: tuple[Scope, ...] = ("admin", "operator")  # either lets a key look at the page
_NO_SESSION = "sign in with an API key"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person who looks at the page.

    Attributes:
        tenant: whose key it is.
        scopes: what the key may do.
        name: what people call the key; empty if the gateway takes no keys.
        session: the cookie, or a word that stands for none; form tokens belong to it.
        signed_in: by a cookie, so that there is something to sign out of.
    """

    tenant: str
    scopes: tuple[Scope, ...]
    name: str
    session: str
    signed_in: bool

    @property
    def operates(self) -> bool:
        """True if the viewer sees the whole fleet, and the jobs of all tenants."""
        return "operator" in self.scopes

    def may_see(self, tenant: str) -> bool:
        """Return whether the viewer may see what is known of a tenant's jobs."""
        return self.operates or tenant == self.tenant

    def may_act(self, tenant: str) -> bool:
        """Return whether the viewer's key may change anything of a tenant."""
        return "admin" in self.scopes and self.may_see(tenant)

    def may_read(self, tenant: str) -> bool:
        """Return whether the viewer may read content: that of the key's own tenant alone."""
        return tenant == self.tenant and not {"read", "admin"}.isdisjoint(self.scopes)


class Sessions:
    """Makes and checks the cookies and the form tokens of the page.

    A cookie names a key and the end of the session, and is signed with the page's secret and the
    digest of the key: it ends when the key is rotated, revoked or expires.
    """

    def __init__(self, doors: Doors, secret: str) -> None:
        self._doors = doors
        self._secret = secret.encode()

    @property
    def keyless(self) -> bool:
        """True if the gateway takes no keys, so that nobody has to sign in."""
        return self._doors.keyless

    async def sign_in(self, token: str) -> str:
        """Return the cookie for an API key.

        Raises:
            Unauthorized: The key does not work.
            Forbidden: The key has neither scope that the page needs.
        """
        by = await self._doors.caller({"authorization": f"Bearer {token}"})
        check_scope(by.scopes)
        assert by.key is not None, "a gateway without keys shows no form"
        until = int(time.time()) + SESSION_S
        return self._signed(by.key, f"{by.key.id}.{until}.{secrets.token_hex(8)}")

    async def viewer(self, headers: Mapping[str, str]) -> Viewer:
        """Return who looks: by the cookie, by a key in a header, or anybody if there are no keys.

        Raises:
            Unauthorized: There is no session, or it has ended.
            Forbidden: The key lacks the scope, or a page of another site asks.
        """
        cookie = _cookie(headers)
        has_key = "authorization" in headers or "x-api-key" in headers
        if cookie and not has_key and not self._doors.keyless:
            return await self._by_cookie(cookie)
        if not has_key and not self._doors.keyless:
            raise Unauthorized(_NO_SESSION)
        by = await self._doors.caller(headers)
        check_scope(by.scopes)
        return _of_caller(by)

    def form_token(self, viewer: Viewer) -> str:
        """Return what a form must send along, so that no other page can send the form."""
        return self._mac(f"form {viewer.session}")

    def check_form(self, viewer: Viewer, token: str, headers: Mapping[str, str]) -> None:
        """Raise `Forbidden` unless a page of ours, in the viewer's session, has sent a form."""
        check_origin(headers)
        if not hmac.compare_digest(token.encode(), self.form_token(viewer).encode()):
            raise Forbidden("this form is too old: load the page again")

    async def _by_cookie(self, cookie: str) -> Viewer:
        key_id, until, *_ = [*cookie.split("."), "", ""]
        key = await self._doors.find(key_id) if key_id.isalnum() else None
        payload = cookie.rpartition(".")[0]
        given, right = cookie.encode(), self._signed(key, payload).encode() if key else b""
        if key is None or not hmac.compare_digest(given, right) or not until.isdecimal():
            raise Unauthorized(_NO_SESSION)
        if time.time() > int(until) or (key.expires and datetime.now(UTC) >= key.expires):
            raise Unauthorized("the session has ended: sign in again")
        check_scope(key.scopes)
        return Viewer(key.tenant, key.scopes, key.name or key.id, cookie, signed_in=True)

    def _signed(self, key: ApiKey, payload: str) -> str:
        return f"{payload}.{self._mac(f'{key.digest} {payload}')}"

    def _mac(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def check_scope(scopes: tuple[Scope, ...]) -> None:
    """Raise `Forbidden` unless a key with these scopes may look at the page."""
    if set(NEEDED).isdisjoint(scopes):
        raise Forbidden("the page needs a key with the scope `operator` (all tenants) or `admin`")


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise `Forbidden` if a browser says that a page of another site sends a form."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise Forbidden("a page of another site sent this form")


def _of_caller(by: Caller) -> Viewer:
    name = "" if by.key is None else by.key.name or by.key.id
    session = "no keys" if by.key is None else f"key {by.key.id}"
    return Viewer(by.tenant, by.scopes, name, session, signed_in=False)


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""

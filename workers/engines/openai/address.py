"""The address of the model server: inside the building, unless a setting says otherwise.

A job that may not leave the building is answered by the local lane. So the server must be on this
machine or in a private network. The name is looked up once and all connections go to that address,
so the name cannot change its address in between (DNS rebinding).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from forebay.routing.errors import Misconfigured, Unavailable

FIELD = "FOREBAY_OPENAI_URL"
_PORTS = {"http": 80, "https": 443}
#: This machine, and the networks of RFC 1918 and RFC 4193. Link-local addresses are not among them:
#: cloud providers serve credentials there.
_PRIVATE = [
    ip_network(network)
    for network in (
        "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
    )
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where to connect to.

    Attributes:
        url: the base URL, with the address in place of the name.
        host: the value of the header `Host`.
        name: the name that a TLS certificate must be for.
    """

    url: str
    host: str
    name: str


def server_address(url: str | None, *, public: bool) -> ServerAddress:
    """Look up the address of the server.

    Args:
        url: the base URL, such as `http://127.0.0.1:8000/v1`.
        public: also allow addresses outside of private networks.

    Raises:
        Misconfigured: The URL is not one, or its address is not allowed.
        Unavailable: The name has no address now.
    """
    parts = _parts(url)
    name, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable("its host has no address", field=FIELD) from None
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not public and not all(map(is_private, addresses)):
        fix = "name a private one, or set FOREBAY_OPENAI_PUBLIC=true if jobs may be sent there"
        raise Misconfigured(f"its address is not private; {fix}", field=FIELD)
    place = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])  # noqa: PLR2004 - IPv6
    return ServerAddress(
        f"{parts.scheme}://{place}:{port}{parts.path.rstrip('/')}/", parts.netloc, name
    )


def is_private(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is of this machine or of a private network."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in _PRIVATE)


def _parts(url: str | None) -> SplitResult:
    if not url:
        raise Misconfigured("is needed, such as http://127.0.0.1:8000/v1", field=FIELD)
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in _PORTS or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise Misconfigured("must be an http:// or https:// address", field=FIELD)
    if parts.username is not None or parts.password is not None:
        raise Misconfigured("must hold no password: set FOREBAY_OPENAI_KEY_FILE", field=FIELD)
    if parts.query or parts.fragment:
        raise Misconfigured("must end with its path, without ? and #", field=FIELD)
    return parts

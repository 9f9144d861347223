"""Which addresses a webhook may be called at: public ones, and those that a setting allows.

A tenant chooses the URL, so it could have the gateway call what only the gateway can reach (SSRF).
The address is looked up once and the connection is made to exactly that address, so a name cannot
change its address in between (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

#: IPv6 addresses that hold the IPv4 address at which a gateway of the network delivers them.
_NAT64 = ip_network("64:ff9b::/96")
#: What IPv6 had before `fc00::/7` for addresses of one site; some networks still have them.
_SITE_LOCAL = ip_network("fec0::/10")


class NotAllowed(Exception):
    """The address of a webhook must not be called."""


class NoAddress(NotAllowed):
    """The host of a webhook has no address now."""


async def address_of(url: str, networks: Sequence[Network]) -> Address:
    """Return the address to connect to for a URL; `resolved` has the arguments.

    Raises:
        NotAllowed: The address may not be called, or only with TLS. `NoAddress` if there is none.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    address = await resolved(parts.hostname or "", port_of(parts), networks)
    if not secure and not is_in(address, networks):
        raise NotAllowed("must begin with https://, except in a network that is allowed by setting")
    return address


def port_of(url: SplitResult) -> int:
    """Return the port of a URL."""
    return url.port or (443 if url.scheme == "https" else 80)


async def resolved(host: str, port: int, networks: Sequence[Network]) -> Address:
    """Return the address to connect to.

    Args:
        host: the name or the address in the URL.
        port: the port.
        networks: the networks that are allowed although they are not public.

    Raises:
        NotAllowed: One of the addresses is not allowed. `NoAddress` if the name has none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NoAddress("its host has no address") from None
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if not (is_public(address) or is_in(address, networks)):
            raise NotAllowed("its host has an address that is not public")
    return addresses[0]


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether an address is in one of the networks, as itself or inside another address."""
    return any(inner in network for network in networks for inner in (address, carried(address)))


def is_public(address: Address) -> bool:
    """Return whether an address, or the address that it stands for, is of the public internet."""
    meant = carried(address)
    special = meant.is_multicast or meant.is_reserved or meant.is_link_local
    return meant.is_global and not special and meant not in _SITE_LOCAL


def carried(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address

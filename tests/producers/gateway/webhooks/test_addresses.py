"""Which addresses a webhook may be called at."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from forebay.producers.gateway.webhooks.addresses import NotAllowed, is_in, is_public, resolved

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]
NOT_PUBLIC = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1",
    "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_may_be_called(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_that_is_not_public_may_not_be_called(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "::1"])
def test_no_way_to_write_loopback_gets_through(host):
    with pytest.raises(NotAllowed):
        asyncio.run(resolved(host, 80, ()))


def test_a_network_of_the_setting_may_be_called():
    networks = (ip_network("127.0.0.0/8"),)
    assert str(asyncio.run(resolved("127.0.0.1", 80, networks))) == "127.0.0.1"
    assert is_in(ip_address("::ffff:127.0.0.1"), networks)
    assert not is_in(ip_address("10.0.0.1"), networks)


def test_a_name_with_one_address_that_is_not_public_is_refused_whole(monkeypatch):
    async def both(*_, **__):
        return [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("169.254.169.254", 443))]

    async def look():
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
        await resolved("two.example", 443, ())

    with pytest.raises(NotAllowed, match="not public"):
        asyncio.run(look())


def test_a_name_without_an_address_is_refused():
    with pytest.raises(NotAllowed, match="no address"):
        asyncio.run(resolved("no-such-host.invalid", 443, ()))

"""Only addresses of this machine and of private networks are connected to."""

import socket

import pytest

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.engines.openai.address import server_address


def names(monkeypatch, *addresses):
    def look_up(_host, port, **_):
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("url", "connected"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/"),
        ("http://10.1.2.3/v1/", "http://10.1.2.3:80/v1/"),
        ("https://192.168.0.9", "https://192.168.0.9:443/"),
        ("http://172.31.0.1:1/a/v1", "http://172.31.0.1:1/a/v1/"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/"),
        ("http://[fd00::1]:8000/v1", "http://[fd00::1]:8000/v1/"),
        ("http://[::ffff:10.0.0.1]:80/v1", "http://[::ffff:a00:1]:80/v1/"),
    ],
)
def test_private_addresses_are_allowed(url, connected):
    assert server_address(url, public=False).url == connected


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/v1", "http://172.32.0.1/v1", "http://169.254.169.254/v1",
        "http://[2606:4700::1]/v1", "http://[::ffff:8.8.8.8]/v1", "http://[fe80::1]/v1",
        "http://0.0.0.0/v1", "http://100.64.0.1/v1", "http://[64:ff9b::a00:1]/v1",
        "http://[2002:a00:1::]/v1", "http://224.0.0.1/v1",
    ],
)  # fmt: skip
def test_other_addresses_need_the_setting(url):
    with pytest.raises(Misconfigured) as caught:
        server_address(url, public=False)
    assert caught.value.field == "FOREBAY_OPENAI_URL"
    assert "FOREBAY_OPENAI_PUBLIC=true" in caught.value.message
    assert server_address(url, public=True)


def test_a_name_must_have_private_addresses_only_and_keeps_the_one_that_was_checked(monkeypatch):
    names(monkeypatch, "10.0.0.7", "10.0.0.8")
    address = server_address("https://models.example:8443/v1", public=False)
    assert address.url == "https://10.0.0.7:8443/v1/"
    assert (address.host, address.name) == ("models.example:8443", "models.example")
    names(monkeypatch, "10.0.0.7", "8.8.8.8")
    with pytest.raises(Misconfigured):
        server_address("https://models.example:8443/v1", public=False)


def test_a_name_without_an_address_may_have_one_later(monkeypatch):
    def look_up(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(Unavailable):
        server_address("http://models.example/v1", public=False)


@pytest.mark.parametrize(
    "url",
    [
        None, "", "127.0.0.1:8000", "ftp://127.0.0.1/v1", "http:///v1", "http://127.0.0.1:0/v1",
        "http://127.0.0.1:99999/v1", "http://[::1/v1", "http://user:word@127.0.0.1/v1",
        "http://127.0.0.1/v1?key=word", "http://127.0.0.1/v1#word",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_being_quoted(url):
    with pytest.raises(Misconfigured) as caught:
        server_address(url, public=True)
    assert caught.value.field == "FOREBAY_OPENAI_URL"
    assert "word" not in str(caught.value).replace("password", "")

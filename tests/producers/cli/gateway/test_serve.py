"""`forebay serve`: what it refuses before it listens."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from forebay.producers.cli import main as cli


@pytest.fixture
def forebay(capsys, monkeypatch):
    monkeypatch.setenv("FOREBAY_GATEWAY_TENANT", "")
    monkeypatch.delenv("FOREBAY_GATEWAY_TENANT")

    def run(*args):
        code = cli.run(["serve", *args])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "gateway.example"])
def test_without_keys_it_serves_on_loopback_only(forebay, host):
    code, out, err = forebay("--without-keys", "--host", host)
    assert (code, out) == (2, "")
    assert "FOREBAY_GATEWAY_TENANT: lets everybody in" in err


def test_a_tenant_needs_no_keys(forebay):
    code, _, err = forebay("--tenant", "acme")
    assert code == 2
    assert "--without-keys" in err


def test_a_wrong_setting_is_one_error_that_names_it(forebay, monkeypatch):
    monkeypatch.setenv("FOREBAY_GATEWAY_MAX_BODY", "much")
    code, _, err = forebay()
    assert code == 2
    assert "FOREBAY_GATEWAY_MAX_BODY: must be a whole number" in err


@pytest.mark.slow
def test_a_missing_extra_is_one_error_that_names_it():
    script = (
        "import sys; sys.modules['uvicorn'] = None; "
        "from forebay.producers.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "install the extra `gateway`" in done.stderr


def test_a_port_that_is_taken_is_one_error_that_says_what_to_do(forebay):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, out, err = forebay("--without-keys", "--port", str(port))
    assert (code, out) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in err
    assert "choose another --port" in err

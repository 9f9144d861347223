"""`forebay keys`: what it prints, and that no key can be read again."""

from __future__ import annotations

import json

import pytest

from forebay.producers.cli import main as cli
from forebay.producers.gateway.api_keys import HASH, KeyStore, split


@pytest.fixture
def forebay(capsys, monkeypatch, redis, redis_url):
    """Run one command line over an empty Redis; return exit code, stdout and stderr."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)

    def run(*args):
        code = cli.run(["keys", *args])
        return code, *capsys.readouterr()

    return run


def test_a_key_is_printed_once_and_never_stored(forebay, redis):
    code, out, err = forebay("create", "--tenant", "acme", "--name", "billing service")
    token = out.strip()
    key_id, secret = split(token)
    assert code == 0
    assert key_id in err
    assert secret not in err
    (stored,) = redis.hvals(HASH)
    assert secret.encode() not in stored
    assert "acme" in forebay("list")[1]
    assert secret not in "".join(map(str, forebay("list", "--json")))


def test_a_key_has_the_limits_and_scopes_that_were_asked_for(forebay, redis):
    code, out, _ = forebay(
        "create", "--tenant", "acme", "--scope", "read", "--expires", "90d",
        "--requests-per-minute", "60", "--tokens-per-minute", "9000", "--json",
    )  # fmt: skip
    shown = json.loads(out)
    assert code == 0
    assert shown["scopes"] == ["read"]
    assert (shown["requests_per_minute"], shown["tokens_per_minute"]) == (60, 9000)
    assert shown["expires"] > shown["created"]
    assert "digest" not in shown
    (key,) = KeyStore(redis).list("acme")
    assert key.id == shown["id"]


def test_rotating_and_revoking(forebay):
    token = forebay("create")[1].strip()
    key_id = split(token)[0]
    code, rotated, _ = forebay("rotate", key_id, "--overlap", "1h")
    assert code == 0
    assert split(rotated.strip())[0] == key_id
    assert rotated.strip() != token
    assert forebay("revoke", key_id)[1] == "revoked\n"
    code, out, err = forebay("revoke", key_id)
    assert (code, out) == (2, "")
    assert "no such key; `forebay keys list` shows all" in err
    assert "no keys" in forebay("list")[2]


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["create", "--tenant", "Acme"], "--tenant"),
        (["create", "--scope", "everything"], "--scope"),
        (["create", "--expires", "soon"], "--expires"),
        (["create", "--expires", "0d"], "--expires"),
        (["create", "--name", "n" * 201], "--name"),
        (["rotate", "0123456789ab"], "id"),
    ],
)
def test_a_mistake_is_one_error_that_names_the_option(forebay, args, field):
    code, out, err = forebay(*args)
    assert (code, out) == (2, "")
    assert f"{field}: " in err

"""`forebay webhooks`: what it prints, and that no secret can be read again."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import Webhook as Verifier

from forebay.producers.cli import main as cli
from receiver import receiving


@pytest.fixture
def forebay(capsys, monkeypatch, redis, redis_url):
    """Run one command line over an empty Redis; return exit code, stdout and stderr."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)

    def run(*args):
        code = cli.run(["webhooks", *args, "--tenant", "acme"])
        return code, *capsys.readouterr()

    return run


def test_a_webhook_is_added_listed_and_removed(forebay, redis):
    code, secret, err = forebay("add", "https://example.com/a", "--event", "job.failed")
    assert code == 0
    assert secret.startswith("whsec_")
    assert secret.strip().encode() not in redis.hvals("fb:webhooks:acme")[0]
    code, shown, _ = forebay("list", "--json")
    (webhook,) = json.loads(shown)
    assert (webhook["events"], webhook["content"], webhook["last"]) == (["job.failed"], False, None)
    assert secret.strip() not in shown
    assert webhook["id"] in err
    assert "https://example.com/a" in forebay("list")[1]
    assert forebay("remove", webhook["id"])[1] == "removed\n"
    assert json.loads(forebay("list", "--json")[1]) == []
    code, _, err = forebay("remove", webhook["id"])
    assert (code, "no such webhook" in err) == (2, True)


def test_a_test_is_signed_and_says_how_it_went(forebay, monkeypatch):
    with receiving() as receiver:
        secret, webhook_id = added(forebay, receiver.url)
        code, out, _ = forebay("test", webhook_id)
        assert (code, "not public" in out, receiver.got) == (1, True, [])
        monkeypatch.setenv("FOREBAY_GATEWAY_WEBHOOK_NETWORKS", '["127.0.0.0/8"]')
        assert forebay("test", webhook_id)[:2] == (0, "HTTP 204\n")
        ((headers, body),) = receiver.got
        assert Verifier(secret).verify(body, headers)["type"] == "webhook.test"
        receiver.respond = lambda: (302, {"location": receiver.url})
        code, out, _ = forebay("test", webhook_id, "--json")
        assert (code, json.loads(out)["outcome"]) == (1, "HTTP 302")


def added(forebay, url):
    shown = json.loads(forebay("add", url, "--json")[1])
    return shown["secret"], shown["id"]


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["ftp://example.com"], "url"),
        (["https://a:b@example.com"], "url"),
        (["https://example.com", "--event", "job.gone"], "events"),
    ],
)
def test_a_mistake_is_one_error_that_names_the_field(forebay, args, field):
    code, out, err = forebay("add", *args)
    assert (code, out) == (2, "")
    assert field in err
    assert "a:b" not in err


def test_a_secret_is_rotated_and_the_old_one_signs_for_a_while(forebay, monkeypatch):
    monkeypatch.setenv("FOREBAY_GATEWAY_WEBHOOK_NETWORKS", '["127.0.0.0/8"]')
    with receiving() as receiver:
        old, webhook_id = added(forebay, receiver.url)
        code, new, err = forebay("rotate", webhook_id, "--overlap", "2h")
        assert (code, new.strip() != old, "until 2h" in err) == (0, True, True)
        assert forebay("test", webhook_id)[0] == 0
        ((headers, body),) = receiver.got
        for secret in (old, new.strip()):
            Verifier(secret).verify(body, headers)
    code, _, err = forebay("rotate", webhook_id, "--overlap", "30d")
    assert (code, "overlap" in err) == (2, True)
    assert "--overlap" in forebay("rotate", webhook_id, "--overlap", "soon")[2]

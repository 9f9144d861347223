"""The records of webhooks, also if two change them at the same time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.producers.gateway.webhooks.webhook_store import TENANTS, WebhookStore
from forebay.routing.errors import UnknownJob
from forebay.routing.ledger.ends import ends_key, listening_key
from forebay.routing.store.encryption import PLAIN

URL = "https://example.com/hook"


@pytest.fixture
def store(redis):
    return WebhookStore(redis, PLAIN)


@pytest.fixture
def other(redis):
    """Another gateway's."""
    return WebhookStore(redis, PLAIN)


@pytest.fixture
def webhook(store):
    return store.add("acme", URL)[0]


def between(store, monkeypatch, act):
    """Have something happen once, after a record was read and before it is written."""
    read = store._stored

    def stored(*about):
        found = read(*about)
        monkeypatch.undo()
        act()
        return found

    monkeypatch.setattr(store, "_stored", stored)


def test_a_webhook_that_is_removed_while_it_is_rotated_stays_removed(
    store, other, webhook, monkeypatch
):
    between(store, monkeypatch, lambda: other.remove("acme", webhook.id))
    with pytest.raises(UnknownJob):
        store.rotate("acme", webhook.id)
    assert store.list("acme") == []


def test_a_webhook_that_is_removed_while_it_is_disabled_stays_removed(
    store, other, webhook, monkeypatch
):
    between(store, monkeypatch, lambda: other.remove("acme", webhook.id))
    store.disable(webhook)
    assert store.list("acme") == []


def test_of_two_rotations_at_once_both_secrets_sign(store, other, webhook, monkeypatch):
    secrets = []
    between(store, monkeypatch, lambda: secrets.append(other.rotate("acme", webhook.id)[1]))
    secrets.append(store.rotate("acme", webhook.id, timedelta(hours=1))[1])
    assert set(store.secrets(store.get("acme", webhook.id))) == set(secrets)


def test_a_webhook_that_is_disabled_while_it_is_rotated_stays_disabled(
    store, other, webhook, monkeypatch
):
    between(store, monkeypatch, lambda: other.disable(webhook))
    store.rotate("acme", webhook.id)
    assert store.get("acme", webhook.id).disabled


def test_a_webhook_that_is_made_while_the_last_one_is_removed_is_told_of_ends(
    store, other, webhook, redis, monkeypatch
):
    hdel = redis.hdel

    def made_meanwhile(*names):
        monkeypatch.undo()
        removed = hdel(*names)
        other.add("acme", URL)
        return removed

    monkeypatch.setattr(redis, "hdel", made_meanwhile)
    store.remove("acme", webhook.id)
    assert redis.exists(listening_key("acme"))
    assert redis.sismember(TENANTS, "acme")


def test_nothing_stays_of_a_tenant_without_webhooks(store, webhook, redis):
    redis.xadd(ends_key("acme"), {"id": "acme.1"})
    store.remove("acme", webhook.id)
    store.note(webhook, "delivered")  # a delivery that was under way
    second = store.add("acme", URL)[0]
    store.remove("acme", second.id)
    assert redis.keys() == []

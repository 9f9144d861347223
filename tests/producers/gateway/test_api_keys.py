"""API keys: their records, and who they let in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forebay.producers.gateway.api_keys import HASH, KeyStore, split


def now():
    return datetime.now(UTC)


@pytest.fixture
def store(redis):
    return KeyStore(redis)


def test_a_key_lets_in_its_own_secret_and_no_other(store):
    key, token = store.create("acme")
    key_id, secret = split(token)
    assert store.find(key_id) == key
    assert key.lets_in(secret, now())
    assert not key.lets_in(secret + "x", now())
    assert not key.lets_in("", now())
    assert not key.lets_in(key.digest, now())


def test_a_key_ends_when_it_expires(store):
    key, token = store.create("acme", expires_in=timedelta(hours=1))
    secret = split(token)[1]
    assert key.lets_in(secret, now() + timedelta(minutes=59))
    assert not key.lets_in(secret, now() + timedelta(minutes=61))


def test_a_rotated_key_lets_the_old_secret_in_for_the_overlap(store):
    key, token = store.create("acme")
    old = split(token)[1]
    rotated, new_token = store.rotate(key.id, timedelta(hours=1))
    assert rotated.lets_in(split(new_token)[1], now())
    assert rotated.lets_in(old, now() + timedelta(minutes=59))
    assert not rotated.lets_in(old, now() + timedelta(minutes=61))
    rotated, newest = store.rotate(key.id)
    assert not rotated.lets_in(split(new_token)[1], now())
    assert store.find(key.id).lets_in(split(newest)[1], now())


@pytest.mark.parametrize("text", ["", "fb", "fb_a", "fb_a_", "sk-123_4", "fb_../x_y", "fb__y"])
def test_a_text_without_the_form_of_a_key_is_none(text):
    assert split(text) is None


def test_a_damaged_record_lets_nobody_in(store, redis):
    key, _ = store.create("acme")
    for damaged in (b"{", b"[]", b'{"id": 1}', b"\xff"):
        redis.hset(HASH, key.id, damaged)
        assert store.find(key.id) is None
        assert store.list() == []

"""API keys: their records, and who they let in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from forebay.producers.gateway.api_keys import HASH, KeyStore, split
from forebay.routing.errors import UnknownJob


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


# --- two operators at once ------------------------------------------------------------------------


def between(store, monkeypatch, act):
    """Have something happen once, after a rotation has read the key and before it writes."""
    read = store._known

    def known(key_id):
        found = read(key_id)
        monkeypatch.undo()
        act()
        return found

    monkeypatch.setattr(store, "_known", known)


def test_a_key_that_is_revoked_while_it_is_rotated_stays_revoked(store, redis, monkeypatch):
    key, _ = store.create("acme")
    between(store, monkeypatch, lambda: KeyStore(redis).revoke(key.id))
    with pytest.raises(UnknownJob):
        store.rotate(key.id)
    assert store.find(key.id) is None


def test_of_two_rotations_at_once_both_secrets_work(store, redis, monkeypatch):
    key, token = store.create("acme")
    other = []
    between(store, monkeypatch, lambda: other.append(KeyStore(redis).rotate(key.id)[1]))
    _, mine = store.rotate(key.id, timedelta(hours=1))
    works = [store.find(key.id).lets_in(split(one)[1], now()) for one in (token, *other, mine)]
    assert works == [False, True, True]


# --- against a model ------------------------------------------------------------------------------

HOURS = st.integers(1, 3)
LOOKS = [timedelta(hours=hours, minutes=-30) for hours in range(1, 5)]


class Keys(RuleBasedStateMachine):
    """The keys of two tenants, compared with a model: until when does which secret let whom in?"""

    keys = Bundle("keys")
    redis = None

    def __init__(self):
        super().__init__()
        self.redis.flushall()
        self.store = KeyStore(self.redis)
        self.tenants = {}  # id -> tenant, of keys that were not revoked
        self.ends = {}  # id -> hours after which the key ends, or None
        self.secrets = {}  # (id, secret) -> hours after which it works no longer, or None

    @rule(target=keys, tenant=st.sampled_from(["acme", "globex"]), hours=st.none() | HOURS)
    def creates(self, tenant, hours):
        expires_in = timedelta(hours=hours) if hours else None
        key, token = self.store.create(tenant, expires_in=expires_in)
        self.tenants[key.id], self.ends[key.id] = tenant, hours
        self.secrets[split(token)] = None
        return key.id

    @rule(key=keys, overlap=st.just(0) | HOURS)
    def rotates(self, key, overlap):
        _, token = self.store.rotate(key, timedelta(hours=overlap))
        for known, until in self.secrets.items():
            if known[0] == key:
                self.secrets[known] = overlap if until is None else 0
        self.secrets[split(token)] = None

    @rule(key=consumes(keys))
    def revokes(self, key):
        assert self.store.revoke(key)
        assert not self.store.revoke(key)
        with pytest.raises(UnknownJob):
            self.store.rotate(key)
        del self.tenants[key]

    @invariant()
    def each_secret_lets_in_as_long_as_it_should(self):
        for (key_id, secret), until in self.secrets.items():
            key, ends = self.store.find(key_id), [until, self.ends[key_id]]
            hours = (
                0
                if key_id not in self.tenants
                else min((e for e in ends if e is not None), default=9)
            )
            found = [key is not None and key.lets_in(secret, now() + ahead) for ahead in LOOKS]
            assert found == [ahead < timedelta(hours=hours) for ahead in LOOKS]

    @invariant()
    def each_tenant_has_its_keys(self):
        for tenant in ("acme", "globex"):
            own = {key_id for key_id, owner in self.tenants.items() if owner == tenant}
            assert {key.id for key in self.store.list(tenant)} == own
        assert self.store.list() == sorted(self.store.list(), key=lambda key: key.created)

    @invariant()
    def no_secret_is_stored_or_shown(self):
        stored = b"".join(self.redis.hvals(HASH)).decode()
        shown = repr([(key, key.public()) for key in self.store.list()])
        for _, secret in self.secrets:
            assert secret not in stored
            assert secret not in shown


@pytest.mark.no_cover
def test_keys_do_what_the_model_says(redis):
    Keys.redis = redis
    few = settings(max_examples=40, stateful_step_count=15, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Keys, settings=few)

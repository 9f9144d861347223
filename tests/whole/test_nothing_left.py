"""Redis does not grow with the jobs and tenants that it has ever had.

Once all jobs have ended and are no longer kept, whatever names a job or a tenant is gone, or
expires by itself: books and figures, which are kept for days.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
import redis as redis_py

from forebay import Client, Extract, ForebayError, Generate, Message
from forebay.routing.settings import Settings
from patience import until

pytestmark = pytest.mark.slow

KEPT_S = "1"
TENANTS = [f"tenant-{number}" for number in range(24)]
POLICY = """
[defaults.thresholds]
generate = 0.0
[defaults.second_opinion]
generate = 0.0
"""
PATIENCE_S = 60.0
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


@pytest.fixture
def url(fleet, tmp_path):
    """Start a fleet that keeps what has ended for a moment; return the URL of its Redis."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    env = {
        "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_ENGINE": "echo",
        "FOREBAY_RETENTION_S": KEPT_S, "FOREBAY_CACHE_S": KEPT_S,
    }  # fmt: skip
    fleet.start_redis()
    for part in ("mock_bedrock", "router", "local", "bedrock", "sweeper"):
        fleet.start(part, **env)
    fleet.wait_ready()
    return fleet.url


def ask(text: str) -> Generate:
    return Generate(messages=[Message(role="user", content=text)], max_tokens=4)


def answered(client):
    """Have jobs answered in both lanes, with all that a job may leave beside its record."""
    for options in (
        {"egress": "allow"},
        {"egress": "allow", "lane": "bedrock"},
        {"idempotency_key": "once", "stream": True},
        {"cache": True, "priority": "bulk", "deadline": timedelta(minutes=5)},
    ):
        client.run(ask("hello"), timeout=PATIENCE_S, **options)


def not_answered(client):
    """Have a job fail, one expire, and one cancelled before anything has seen it."""
    with contextlib.suppress(ForebayError):
        client.run(Extract(text="[[echo: say=none]]", schema=SCHEMA), timeout=PATIENCE_S)
    with contextlib.suppress(ForebayError):
        late = ask("[[echo: delay=0.5]] one two three four")
        client.run(late, deadline=timedelta(seconds=0.1), timeout=PATIENCE_S)
    client.cancel(client.submit(ask("no")))


def bulks(client):
    """Have a bulk answered, and one cancelled."""
    rows = [{"text": f"row {number}"} for number in range(20)]
    with client.bulk(rows, kind="summarize", egress="allow") as bulk:
        bulk.wait()
    with client.bulk(rows, kind="summarize") as bulk:
        bulk.cancel()


def test_nothing_stays_of_jobs_and_tenants_that_have_gone(url):
    settings = Settings(redis_url=url, retention_s=float(KEPT_S), cache_s=float(KEPT_S))
    for number, tenant in enumerate(TENANTS):
        with Client(tenant=tenant, settings=settings) as client:
            (answered, not_answered, bulks, lambda each: each.cancel(each.submit(ask("no"))))[
                number % 4
            ](client)
    with redis_py.Redis.from_url(url) as client:
        until(lambda: lasting(client) == [], within_s=PATIENCE_S)


def lasting(client) -> list[str]:
    """Return the keys without an end that name a tenant, and the names of tenants in others."""
    found = []
    for key in client.scan_iter("fb:*", count=1_000):
        if client.pttl(key) == -1:
            found += [text for text in (key.decode(), *members(client, key)) if "tenant-" in text]
    return found


#: Bounded by their length, not by time.
LOGS = ("fb:egress:log", "fb:pace:tenants")


def members(client, key) -> list[str]:
    """Return the members or fields of a key that all tenants share."""
    read = {
        b"hash": client.hkeys, b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
    }  # fmt: skip
    if key.decode() in LOGS:
        return []
    return [each.decode() for each in read.get(client.type(key), lambda _: [])(key)]

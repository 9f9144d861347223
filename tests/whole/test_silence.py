"""Content is in the ledger's content keys only: not in messages, Flower, logs, keys or tracebacks.

Every content field of every kind has a canary. Jobs succeed, escalate, are cached, cancelled,
refused and broken in every way that a test can provoke. Then the tests search everything that
others can see for the canary.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
import redis as redis_py

from forebay.producers.client import Client
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import (
    Choice,
    Classify,
    Decide,
    Embed,
    Extract,
    Generate,
    Label,
    Message,
    Predicate,
    Score,
    Summarize,
)
from forebay.routing.settings import Settings
from forebay.routing.store.encryption import PLAIN
from local.fleet import Fleet
from patience import until

pytestmark = pytest.mark.slow

CANARY = "kanarie"  # in every content; found nowhere else
DATATABLE = "/tasks/datatable?" + urlencode(
    {"draw": 1, "start": 0, "length": 1000, "order[0][column]": 0, "columns[0][data]": "name"}
)
ENDED = (b"done", b"failed", b"expired")
CONTENT_KEYS = (b"fb:content:", b"fb:answer:", b"fb:draft:", b"fb:cache:")


def text(words: str = "hello") -> str:
    return f"{words} {CANARY}-text"


def ask(content: str, **options) -> Generate:
    return Generate(messages=[Message(role="user", content=content)], **options)


def requests():
    schema = {"type": "object", "properties": {f"{CANARY}-field": {"type": "string"}}}
    labels = [
        Label(name=f"{CANARY}-{i}", description=f"{CANARY}-what", examples=(f"{CANARY}-like",))
        for i in range(3)
    ]
    yield Classify(text=text(), labels=labels)
    yield Decide(state={f"{CANARY}-key": text()}, questions=questions())
    yield Decide(state=text("[[echo: confidence=0.2]]"), questions=questions())
    yield Decide(state=text("[[echo: delay=nonsense]]"), questions=questions())
    yield Extract(text=text(), schema=schema)
    yield Summarize(text=text("[[echo: say=the total is 99,123]]"), focus=f"{CANARY}-focus")
    yield ask(text(), stop=(f"{CANARY}-stop",))
    yield ask(text(), schema=schema)
    yield ask(text("[[echo: say=The answer: 18]]"))  # kept, and compared with Bedrock's
    yield ask(text(), regex=f"{CANARY}-[a-z]+")
    yield Embed(texts=[text(), text("again")])
    yield ask(text("[[echo: fail]]"))
    yield ask(text("[[echo: say=]]"))
    yield ask(text("word " * 5000))  # longer than the context
    yield Extract(text=text("[[echo: say={not json]]"), schema=schema)
    for half in (f'{{"a": "{CANARY} \\ud83d end"}}', f'{{"{CANARY}\\ud83d": "x"}}'):  # of an emoji
        yield Extract(text=text(f"[[echo: say={half}]]"), schema={"type": "object"})
        yield ask(text(f"[[echo: say={half}]]"), schema={"type": "object"})


def questions():
    said = {"instructions": f"{CANARY}-asked", "unsure": True}
    return [
        Predicate(name=f"{CANARY}-a", yes=f"{CANARY}-yes", no=f"{CANARY}-no", **said),
        Choice(name=f"{CANARY}-b", choices=[f"{CANARY}-0", Label(name=f"{CANARY}-1")], **said),
        Score(name=f"{CANARY}-c", levels=[f"{CANARY}-low", f"{CANARY}-high"], **said),
    ]


class Monitor(threading.Thread):
    """Records what `redis-cli monitor` shows while it runs."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.seen: list[str] = []
        # Without a time limit: on a busy machine nothing happens for seconds while workers stop.
        self._client = redis_py.Redis.from_url(url, socket_timeout=None)

    def run(self) -> None:
        # It ends when the server ends.
        with contextlib.suppress(redis_py.ConnectionError), self._client.monitor() as monitor:
            for command in monitor.listen():
                self.seen.append(str(command["command"]))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Run all those jobs; return what the fleet has shown, by where it was shown."""
    folder = tmp_path_factory.mktemp("silence")
    policy = folder / "policy.toml"
    policy.write_text("[defaults]\nthresholds.generate = 0.0\n[defaults.audit]\nshare = 1.0\n")
    terms = {"FOREBAY_LEASE_S": "2", "FOREBAY_MAX_ATTEMPTS": "1"}
    with Fleet(folder, {**terms, "FOREBAY_POLICY_FILE": str(policy)}) as fleet:
        fleet.start_redis()
        for part in ("mock_bedrock", "router", "sweeper", "flower"):
            fleet.start(part)
        fleet.start("bedrock", FOREBAY_LOG="json")
        fleet.start("local", FOREBAY_ENGINE="echo")
        fleet.wait_ready()
        monitor = Monitor(fleet.url)
        monitor.start()
        with Client(settings=Settings(redis_url=fleet.url)) as client:
            outcomes = list(work(client))
            await_audits(client)
            await_flower(client, fleet.flower_url)
        flower = {page: body(fleet.flower_url + page) for page in pages(fleet)}
        keys = stored(fleet.url)
        fleet.stop()
        logs = {log.name: log.read_text() for log in Path(fleet.logs).glob("*.log")}
    return {"outcomes": outcomes, "flower": flower, "keys": keys, "logs": logs, "monitor": monitor}


def work(client: Client):
    options = {"metadata": {f"{CANARY}-key": f"{CANARY}-value"}}
    crash = ask(text("[[echo: crash]]"))  # alone: what it takes along has no other attempt
    for egress in ("deny", "allow"):
        for together in (list(requests()), [crash]):
            futures = [
                client.submit_future(request, egress=egress, cache=True, **options)
                for request in together
            ]
            yield from map(outcome, futures)
    yield outcome(client.submit_future(ask(text()), egress="allow", lane="bedrock", **options))
    client.submit(ask(text()), idempotency_key=f"{CANARY}-idempotency")
    cancelled = client.submit(ask(text("[[echo: delay=1]] one two three")))
    client.cancel(cancelled)
    forged = client.submit(ask(text("forged")))
    client._ledger.redis.set(f"fb:content:{forged}", f"{CANARY} no content of ours")
    yield outcome(client.future(forged))


def await_audits(client: Client) -> None:
    """Wait until every audit has ended, so that everything it leaves behind is there."""
    redis, end = client._ledger.redis, time.monotonic() + 30
    while time.monotonic() < end:
        states = [redis.hmget(key, "audit_of", "state") for key in redis.keys("fb:job:*")]
        if all(state in ENDED for audit_of, state in states if audit_of):
            return
        time.sleep(0.1)


def await_flower(client: Client, flower: str) -> None:
    """Wait until Flower shows every job that a worker has ended, audits included."""
    redis = client._ledger.redis
    ended = {
        key.decode().removeprefix("fb:job:")
        for key in redis.keys("fb:job:*")
        if redis.hget(key, "state") in ENDED
    }
    assert len(ended) > 25
    until(lambda: ended <= json.loads(body(flower + "/api/tasks?limit=1000")).keys(), 20)


def outcome(future) -> str:
    try:
        return str(future.result(90))
    except ForebayError as error:
        return str(error)


def pages(fleet: Fleet) -> list[str]:
    tasks = json.loads(body(fleet.flower_url + "/api/tasks?limit=1000"))
    workers = json.loads(body(fleet.flower_url + "/api/workers"))
    found = ["/", "/workers", "/tasks", "/broker", "/api/tasks?limit=1000", "/api/workers"]
    found += ["/api/task/types", "/api/queues/length", "/metrics", DATATABLE]
    found += [f"/task/{task}" for task in tasks] + [f"/api/task/info/{task}" for task in tasks]
    return found + [f"/worker/{worker}" for worker in workers]


def body(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as response:
        return response.read().decode()


def stored(url: str) -> dict[bytes, bytes]:
    """Return every key with its raw value."""
    client = redis_py.Redis.from_url(url)
    return {
        key: client.get(key) if client.type(key) == b"string" else client.dump(key)
        for key in client.keys()
    }


def test_the_search_can_find_something(searched):
    contents = [
        PLAIN.open(value)
        for key, value in searched["keys"].items()
        if key.startswith(CONTENT_KEYS) and value[:1] == b"z"
    ]
    assert any(CANARY.encode() in content for content in contents)
    assert len(searched["monitor"].seen) > 200


def test_flower_shows_receipts_and_no_content(searched):
    shown = searched["flower"]
    assert "verdict" in "".join(shown.values())
    assert [page for page, text in shown.items() if CANARY in text] == []


def test_no_log_holds_content_whatever_has_failed(searched):
    assert {"router1.log", "local1.log", "bedrock1.log", "flower.log"} <= searched["logs"].keys()
    assert [name for name, text in searched["logs"].items() if CANARY in text] == []


def test_no_command_that_redis_sees_holds_content_in_the_clear(searched):
    ours = [command for command in searched["monitor"].seen if CANARY in command]
    assert [command for command in ours if "no content of ours" not in command] == []


def test_no_key_holds_content_and_no_value_except_under_content_keys(searched):
    for key, value in searched["keys"].items():
        assert CANARY.encode() not in key
        if not key.startswith(CONTENT_KEYS):
            assert CANARY.encode() not in value, key


def test_audits_were_made_and_keep_no_content(searched):
    learned = {
        key: value for key, value in searched["keys"].items() if key.startswith(b"fb:audits")
    }
    assert learned
    assert not [key for key, value in learned.items() if CANARY.encode() in value]


def test_no_outcome_shows_content_when_it_is_printed(searched):
    assert [outcome for outcome in searched["outcomes"] if CANARY in outcome] == []
    assert any("status='done'" in outcome for outcome in searched["outcomes"])
    assert any("status='failed'" in outcome for outcome in searched["outcomes"])

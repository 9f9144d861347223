"""What a forger publishes to Celery's channels: control commands for workers, and events."""

from __future__ import annotations

import base64
import json
import time

PICKLE = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
PING = {"method": "ping"}
ELSEWHERE = {"exchange": "", "routing_key": "victim"}


def message(content, *, body=None, headers=None, **properties):
    """Return a message of kombu with this content."""
    of_message = {"delivery_info": {"exchange": "celery.pidbox", "routing_key": ""}}
    packed = base64.b64encode(json.dumps(content).encode()).decode()
    about = {"priority": 0, "body_encoding": "base64", "delivery_tag": "x", "delivery_mode": 2}
    return json.dumps(
        {
            "body": packed if body is None else body, "content-encoding": "utf-8",
            "content-type": "application/json", "headers": headers or {},
            "properties": {**of_message, **about}, **properties,
        }
    )  # fmt: skip


NO_MESSAGES = {
    "no-json": "x", "no-text": b"\xff\xfe", "list": "[]", "null": "null", "number": "7",
    "deep": "[" * 100_000, "no-body": '{"a": 1}',
    "no-properties": '{"body": "", "properties": null}',
    "no-base64": message({}, body="@@@"), "pickle": message({}, **PICKLE),
    "content-null": message(None), "content-text": message("x"), "content-list": message([]),
    "compressed": message(PING, headers={"compression": "application/x-gzip"}),
}  # fmt: skip

CHANGING = ("shutdown", "pool_restart", "revoke", "election")
BROADCASTS = {
    "no-method": message({"arguments": {}}), "number": message({"method": 7}),
    "unknown": message({"method": "nope"}), "arguments": message({**PING, "arguments": [1]}),
    "destination": message({**PING, "destination": 7}),
    "reply-to-number": message({**PING, "reply_to": 7}),
    "reply-to-list": message({**PING, "reply_to": ELSEWHERE, "ticket": "t"}),
    "clock-text": message(PING, headers={"clock": "x"}),
    "clock-huge": message(PING, headers={"clock": 10**400}),
    "pattern": message({**PING, "matcher": "pcre", "pattern": r"(.|.)*(.|.)*(.|.)*(.|.)*\d!"}),
    "matcher": message({**PING, "matcher": "nope", "pattern": "x"}),
    "huge": message({**PING, "arguments": {"x": "y" * 5_000_000}}),
    **{name: message({"method": name}) for name in CHANGING},
    "cancel": message({"method": "cancel_consumer", "arguments": {"queue": "local.default"}}),
    "add": message({"method": "add_consumer", "arguments": {"queue": "evil"}}),
}  # fmt: skip


def event(**fields):
    """Return an event of a task with these fields in place of good ones."""
    good = {
        "type": "task-received", "hostname": "forged", "uuid": "forged", "timestamp": time.time(),
        "utcoffset": 0, "clock": 1, "pid": 1,
    }  # fmt: skip
    return {**good, **fields}


def events():
    """Return forged events by name."""
    return {
        "type": message(event(type=5)), "clock": message(event(clock="x")),
        "late-clock": message(event(clock=10**30)), "time": message(event(timestamp="x")),
        "late": message(event(timestamp=1e308)), "zone": message(event(utcoffset="x")),
        "id": message(event(uuid=[1])), "host": message(event(hostname=["x"])),
        "long-host": message(event(hostname="h" * 1_000_000)),
        "long": message(event(args="x" * 5_000_000)),
        "many": message([event(), 5, None, {"type": "x"}]),
        "no-host": message({"type": "task-received", "uuid": "x"}), "empty": message({}),
        "no-id": message({"type": "task-received", "hostname": "x"}),
        "heartbeat": message({"type": "worker-heartbeat", "hostname": "x", "freq": "x"}),
        "ended": message(event(type="task-succeeded", runtime="x", result={})),
    }  # fmt: skip

"""Entries of the egress log for tests."""

from forebay.routing.books.egress_entry import Leaving

HAIKU = "anthropic.claude-haiku-5-5"


def leaving(call="c1", job="acme.1", **fields):
    values = {
        "kind": "generate", "model": HAIKU, "region": "us-east-1", "tokens": 100,
        "content": "d" * 64, "said": "allow", "policy": "p1", "why": "verdict_hard",
        "purpose": "answer",
    }  # fmt: skip
    return Leaving(call=call, job=job, **values | fields)

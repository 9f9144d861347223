"""No Python code reads whole what a tenant may write: scripts and `GETRANGE` bound what is sent."""

from __future__ import annotations

import re

import pytest

from local.fleet import ROOT
from redis_acl import OWN_KEYS, SHARED

WRITES = re.compile(r"\+(?:set|hset|hsetnx|hincrby|sadd|zadd|lpush|xadd)\b")
READS = re.compile(
    r"\.(get|mget|hget|hmget|hgetall|hkeys|hvals|hscan|smembers|sscan|srandmember|lrange|lpop|zrange"
    r"|zrevrange|zrangebyscore|zscan|xrange|xread)\(\s*\{?f?\"(fb:[a-z-]+)"
)
#: Reads of a producer's client of its own keys, and of the streams that the gateway bounds.
OWN = {
    ("zrevrange", "fb:dead"),  # a producer can only remove from it
    ("xrange", "fb:stream"),  # only workers write it
}  # fmt: skip
FILES = [
    path for folder in ("routing", "producers", "workers") for path in (ROOT / folder).rglob("*.py")
]


def families():
    """Yield the first words of the keys into which a producer may write anything."""
    for key, commands in OWN_KEYS.items():
        if WRITES.search(commands):
            yield re.match(r"fb:[a-z-]+", key)[0]
    for rule in SHARED:
        if WRITES.search(rule):
            yield from re.findall(r"~(fb:[a-z-]+)", rule)


def test_producers_write_the_families_that_this_test_looks_for():
    assert {"fb:job", "fb:content", "fb:bulk", "fb:depth", "fb:newcomers"} <= {*families()}


@pytest.mark.parametrize("family", sorted(set(families())))
def test_what_a_tenant_may_write_is_read_within_bounds(family):
    found = [
        f"{path.relative_to(ROOT)}: {match[1]} {match[2]}"
        for path in FILES
        for match in READS.finditer(path.read_text())
        if match[2] == family and (match[1], match[2]) not in OWN
    ]
    assert found == []

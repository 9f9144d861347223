"""`forebay pause` and `forebay resume`: names become scopes; what is paused is shown everywhere."""

from __future__ import annotations

import json

import pytest

from forebay.producers.cli.operator.pauses import scope_of
from forebay.routing.limits.pauses import Pauses


@pytest.mark.parametrize(
    ("name", "tenant", "scope"),
    [
        ("bedrock", None, "lane:bedrock"),
        ("local", None, "lane:local"),
        ("bedrock", "acme", "bedrock:acme"),
        ("summarize", None, "kind:summarize"),
        ("acme", None, "tenant:acme"),
        ("anthropic.claude-haiku-5-5", None, "model:anthropic.claude-haiku-5-5"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/x", None,
         "model:arn:aws:bedrock:us-east-1:1:inference-profile/x"),
        ("tenant:local", None, "tenant:local"),
    ],
)  # fmt: skip
def test_a_name_becomes_the_scope_that_it_means(name, tenant, scope):
    assert scope_of(name, tenant) == scope


def test_a_mistyped_lane_is_not_taken_for_a_tenant(forebay, redis):
    code, _, err = forebay("pause", "bedrok")
    assert (code, Pauses(redis).all()) == (2, [])
    assert "did you mean bedrock? For a tenant of that name: tenant:bedrok" in err
    assert forebay("pause", "tenant:bedrok")[1] == "paused tenant:bedrok\n"


def test_a_tenant_that_nobody_knows_may_be_mistyped(forebay, redis):
    redis.hset("fb:tenants", "acme", "")
    assert forebay("pause", "acme")[1:] == ("paused tenant:acme\n", "")
    for name in (["acne"], ["bedrock", "--tenant", "acne"]):
        code, _, err = forebay("pause", *name)
        assert (code, err) == (0, "forebay: no tenant acne has submitted a job yet\n")
    assert len(Pauses(redis).all()) == 3


def test_a_pause_is_set_listed_and_resumed(forebay, redis):
    assert forebay("pause")[2] == "forebay: nothing is paused\n"
    code, out, _ = forebay("pause", "bedrock", "--tenant", "acme", "--reason", "invoice")
    assert (code, out) == (0, "paused bedrock:acme\n")
    assert [one.scope for one in Pauses(redis).all()] == ["bedrock:acme"]
    _, out, _ = forebay("pause")
    header, row = out.splitlines()
    assert header.split() == ["PAUSED", "SINCE", "REASON"]
    assert (row.split()[0], row.split()[2]) == ("bedrock:acme", "invoice")
    (listed,) = json.loads(forebay("pause", "--json")[1])
    assert (listed["scope"], listed["reason"]) == ("bedrock:acme", "invoice")
    assert forebay("resume", "bedrock", "--tenant", "acme")[1] == "resumed bedrock:acme\n"
    assert forebay("resume", "bedrock")[1] == "lane:bedrock was not paused\n"


def test_doctor_and_top_show_what_is_paused(forebay):
    forebay("pause", "summarize", "--reason", "a bad prompt")
    _, out, _ = forebay("doctor", "--json")
    (finding,) = [one for one in json.loads(out)["checks"] if one["name"] == "paused"]
    assert finding["state"] == "warn"
    assert finding["seen"].startswith("kind:summarize since ")
    assert finding["seen"].endswith(": a bad prompt")
    assert finding["mend"] == "forebay resume kind:summarize"
    assert json.loads(forebay("top", "--json")[1])["paused"] == ["kind:summarize"]
    assert "paused: kind:summarize" in forebay("top")[1]


def test_a_tenant_goes_with_bedrock_only(forebay):
    code, _, err = forebay("pause", "local", "--tenant", "acme")
    assert code == 2
    assert "'NAME': must be bedrock beside --tenant" in err
    code, _, err = forebay("pause", "lane:gpu")
    assert code == 2
    assert "scope: must be one of route, local, bedrock, not gpu" in err

"""`forebay explain`: a job in any state, in words and as one document, never its content."""

from __future__ import annotations

import asyncio
import json

import pytest

from forebay.producers.async_client import AsyncClient
from forebay.producers.cli import main as cli
from forebay.producers.client import Client
from forebay.producers.explain import explanation_lines
from forebay.routing.jobs import Classify, Extract, Generate, Job, Message, Summarize, new_id
from forebay.routing.learning.calibration import Calibration, Calibrations
from forebay.routing.scoring.router_model import RouterModel

pytest_plugins = ["waterfall"]

STORY = "[[echo: say=a long kanarie story]] tell me a kanarie"


def ask(text=STORY):
    return Generate(messages=[Message(role="user", content=text)])


@pytest.fixture
def explain(capsys):
    """Return what the command prints about a job: a document, and words."""

    def run(job_id):
        capsys.readouterr()
        assert cli.run(["explain", job_id, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert cli.run(["explain", job_id]) == 0
        words = capsys.readouterr().out
        assert "kanarie" not in json.dumps(document) + words
        return document, words

    return run


def codes(document):
    return [one["code"] for one in document["decisions"]]


def test_a_job_that_waits_says_where(lanes, explain):
    job = Job(tenant="acme", request=ask())
    lanes.ledger.create([job])
    document, words = explain(job.id)
    assert (document["state"], document["hop"], document["verdict"]) == ("waiting", "route", None)
    assert (document["made"], document["audit"], document["decisions"]) == (None, None, [])
    assert "waiting, route (route), attempt 0" in words
    lanes.work("route")
    document, words = explain(job.id)
    assert codes(document) == ["egress_denied"]
    assert 0 < document["verdict"]["probability"] < 1
    assert "local.default" in words


def test_a_job_that_is_tried_again_says_why(lanes, explain):
    job = Job(tenant="acme", request=ask())
    lanes.ledger.create([job])
    claim = lanes.ledger.claim("route")
    lanes.ledger.retry(claim, "unavailable", note="Bedrock is shut", delay_s=60)
    _, words = explain(job.id)
    assert "held up     unavailable: Bedrock is shut; it is tried again" in words


def test_a_kept_answer_says_what_its_verdict_was_compared_with(lanes, explain):
    lanes.rules("[tenants.acme]\nthresholds = { generate = 0.01 }\naudit = { share = 0.0 }\n")
    job = lanes.ask(ask())
    document, words = explain(job.id)
    verdict = document["verdict"]
    assert codes(document) == ["verdict_easy"]
    assert (verdict["threshold"], verdict["held"]) == (0.01, "probability")
    assert verdict["features"]
    assert verdict["version"]
    assert document["made"]["lane"] == "local"
    assert document["decisions"][0]["meaning"] == "the local answer will probably do"
    assert "that the local answer will do, threshold 0.010" in words
    assert (document["doubt"]["version"], document["doubt"]["threshold"]) == ("plain", None)
    assert "that the local answer is wrong\n" in words
    assert "by the rule for answers without a second opinion\n" in words
    assert "audit" not in words


def test_a_pace_compares_the_score_with_the_threshold(lanes, explain):
    lanes.rules("[tenants.acme]\npace = { share = 0.5, before = 0.5 }\naudit = { share = 0.0 }\n")
    documents = [explain(lanes.audited(ask()).id)[0] for _ in range(4)]
    assert {"pace_goes", "pace_stays"} & {codes(one)[0] for one in documents}
    held = {one["verdict"]["held"] for one in documents if one["verdict"]["threshold"] is not None}
    assert held <= {"score"}


def test_no_line_is_longer_than_a_terminal_and_a_calibration_is_named(lanes, explain):
    calibration = Calibration(model=RouterModel.load().version, start=0.3)
    Calibrations(lanes.redis).publish("*", calibration)
    _, words = explain(lanes.audited(ask()).id)
    assert max(map(len, words.splitlines())) <= 80
    assert f"by {calibration.model}, moved by calibration 1\n" in words


def test_a_job_above_the_threshold_that_stays_says_why():
    score = {"probability": 0.4, "score": 0.5, "version": "v", "features": {}, "threshold": 0.3}
    doubt = {"probability": 0.7, "agreement": None, "version": "plain", "threshold": 0.4}
    decision = {"code": "pace_stays", "detail": "", "meaning": "it stays", "whose": None}
    names = ("made", "audit", "replay_of", "replayed_as", "audit_of", "error", "error_field")
    document = {
        "id": "acme.1", "kind": "generate", "egress": "allow", "state": "done", "checks": [],
        "verdict": {**score, "held": "score"}, "doubt": doubt, "decisions": [decision],
        **dict.fromkeys(names), "error_note": None,
    }  # fmt: skip
    words = " ".join(" ".join(explanation_lines(document)).split())
    assert words.count("(but enough jobs had gone up for now)") == 2
    document["decisions"] = [{**decision, "code": "verdict_easy"}]
    assert "enough jobs" not in " ".join(explanation_lines(document))


def test_an_escalation_names_the_check_and_the_second_opinion(lanes, explain):
    schema = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
    lanes.rules("[tenants.acme]\nsecond_opinion = { extract = 1.0 }\n")
    lanes.mock.answer = '{"total": 10}'
    said = '[[echo: say={"total": 10}]] [[echo: warm={"total": 9}]]'
    job = lanes.audited(Extract(text=f"10 or 9 {said}", schema=schema))
    document, words = explain(job.id)
    assert "second_opinion_differs" in codes(document)
    assert document["made"]["lane"] == "bedrock"
    assert document["made"]["cost_usd"] > 0
    assert "a second local answer differs from the first" in words
    doubt = document["doubt"]
    assert doubt["probability"] > doubt["threshold"] == 0.5
    assert "that the local answer is wrong, threshold 0.500" in words
    assert "0.00 agreement of the local answer with a second one, by echo" in words
    failed = lanes.audited(ask("[[echo: say=]] tell"))
    _, words = explain(failed.id)
    assert "no_answer" in words
    checked = lanes.ask(Classify(text="[[echo: confidence=0.2]]", labels=["a", "b"]))
    assert "low_probability" in codes(explain(checked.id)[0])


def test_each_check_says_whose_answer_it_is_about(lanes, explain):
    """Both answers are too long."""
    lanes.mock.answer = "We met at noon, and then all of us had some lunch."
    request = Summarize(
        text="[[echo: say=We met then, all of us, at noon, and had lunch.]] We met.", max_words=5
    )
    document, words = explain(lanes.audited(request).id)
    assert document["made"]["lane"] == "bedrock"
    failed = [one["whose"] for one in document["decisions"] if one["code"] == "check_failed"]
    assert failed == ["the local answer", "Bedrock's answer"]
    assert "check_failed (length): the local answer failed the named check" in words
    assert "check_failed (length): Bedrock's answer failed the named check" in words
    assert {check["whose"] for check in document["checks"]} == {"Bedrock's answer"}
    assert "Bedrock's answer failed length" in words
    kept = lanes.ask(Summarize(text="We met at noon. [[echo: say=We met at noon.]]", max_words=20))
    assert "the local answer passed numbers" in explain(kept.id)[1]


def test_a_reason_that_holds_twice_says_what_follows_from_it(lanes, explain):
    text = "[[echo: say=We met then, all of us, at noon, and had lunch.]] We met."
    job = lanes.ask(Summarize(text=text, max_words=5), egress="deny")
    document, words = explain(job.id)
    assert codes(document) == ["egress_denied", "check_failed", "egress_denied"]
    said = " ".join(words.split()).split("egress_denied: ")
    assert not said[1].startswith("the content may not leave the building, so")
    stayed = "the content may not leave the building, so the job stayed in the local lane"
    assert said[2].startswith(stayed)


def test_a_job_that_bedrock_rejects_says_what_bedrock_rejects(lanes, explain):
    lanes.mock.faults.plan(["invalid"] * 3)
    job = Job(tenant="acme", request=ask(), egress="allow", lane="bedrock")
    lanes.ledger.create([job])
    lanes.work()
    _, words = explain(job.id)
    assert "invalid_job: Bedrock rejects this request for" in words.split("why", 1)[1]
    assert "a field of the job is wrong" not in words


def test_an_audit_is_shown_with_its_outcome_and_its_cost(lanes, explain):
    job = lanes.ask(ask())
    document, words = explain(job.id)
    assert document["audit"]["state"] == "waiting"
    lanes.work()
    document, words = explain(job.id)
    assert document["audit"]["note"] == "outcome 1.00, judged"
    assert document["audit"]["cost_usd"] > 0
    assert document["made"]["cost_usd"] == 0
    shadow, words_of_it = explain(document["audit"]["id"])
    assert shadow["audit_of"] == job.id
    assert codes(shadow) == ["audit"]
    assert "outcome 1.00, judged" in words
    assert "audit of" in words_of_it
    lanes.ledger.forget(document["audit"]["id"])
    assert explain(job.id)[0]["audit"]["state"] == "gone"


def test_a_failure_and_its_replay_are_linked(lanes, explain, redis_url):
    job = Job(tenant="acme", request=ask("[[echo: fail]]"))
    lanes.ledger.create([job])
    for _ in range(8):
        lanes.work()
        for waits in lanes.redis.zrange("fb:later", 0, -1):
            lanes.redis.zadd("fb:later", {waits: 1})
        lanes.ledger.sweep()
    document, words = explain(job.id)
    assert (document["state"], document["made"]) == ("failed", None)
    assert document["error"] in words
    assert f"{document['error']}: the engine broke while it worked on the job" in words
    with Client(tenant="acme") as client:
        again = client.replay(job.id)
    assert explain(job.id)[0]["replayed_as"] == again
    assert explain(again)[0]["replay_of"] == job.id


def test_the_async_client_explains_the_same(lanes, explain):
    async def ask_it(job_id):
        async with AsyncClient(tenant="acme") as client:
            return await client.explain(job_id)

    job = lanes.ask(ask())
    assert json.loads(json.dumps(asyncio.run(ask_it(job.id)))) == explain(job.id)[0]


def test_an_unknown_job_is_one_clear_error(lanes, capsys):
    capsys.readouterr()
    assert cli.run(["explain", new_id("acme"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["field"]) == ("unknown_job", "id")
    assert cli.run(["explain", "what"]) == 2

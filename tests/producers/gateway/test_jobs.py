"""The native endpoints: jobs of every kind, and the tenant."""

from __future__ import annotations

import json
import time
from urllib.parse import urlsplit

import httpx2
import pytest
import redis as redis_py

from patience import until

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"],
    "additionalProperties": False,
}  # fmt: skip
REQUESTS = {
    "classify": {"text": "The login page.", "labels": ["billing", "login"]},
    "extract": {"text": "Total: 7.", "schema": SCHEMA},
    "summarize": {"text": "We met at noon."},
    "generate": {"messages": [{"role": "user", "content": "Hello there."}]},
    "embed": {"texts": ["first", "second"]},
}
SLOW = {
    "kind": "generate",
    "messages": [{"role": "user", "content": "[[echo: delay=0.25]] one two three four"}],
}
FOREVER = {
    "kind": "generate",
    "messages": [{"role": "user", "content": "[[echo: delay=0.5]] " + "word " * 200}],
}


def submit(http, body, **headers):
    response = http.post("/jobs", json=body, headers=headers)
    assert response.status_code == 202, response.text
    return response.json()["id"]


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_job_of_every_kind_is_submitted_and_answered(http, kind):
    job_id = submit(http, {"kind": kind, **REQUESTS[kind]})
    found = http.get(f"/jobs/{job_id}", params={"wait": 20}).json()
    assert found["status"]["state"] == "done"
    assert found["status"]["receipt"]["lane"] == "local"
    assert found["answer"]["content"]["kind"] == kind
    assert found["error"] is None


def test_a_whole_job_has_its_own_options(http):
    request = {"kind": "summarize", **REQUESTS["summarize"]}
    job = {
        "request": request, "egress": "allow", "lane": "local", "deadline": "5m",
        "idempotency_key": "whole",
    }  # fmt: skip
    job_id = submit(http, job)
    again = http.post("/jobs", json=job)
    assert again.json()["id"] == job_id
    found = http.get(f"/jobs/{job_id}?wait=20").json()
    assert found["answer"]["egress"] == "allow"


def test_many_jobs_are_submitted_and_one_that_is_refused_stops_no_other(http):
    good = {"kind": "summarize", **REQUESTS["summarize"]}
    bad = [{"kind": "summarize"}, {"kind": "nonsense"}, 7, {"request": good, "lane": "bedrock"}]
    done = http.post("/jobs/many", json={"jobs": [good, *bad, good]}).json()["jobs"]
    assert [one["error"] and one["error"]["code"] for one in done] == [
        None, "invalid_job", "invalid_job", "invalid_request", "egress_denied", None,
    ]  # fmt: skip
    assert [one["error"] and one["error"]["field"] for one in done[1:3]] == ["text", "kind"]
    for one in (done[0], done[-1]):
        assert http.get(f"/jobs/{one['id']}?wait=20").json()["status"]["state"] == "done"


def test_a_long_poll_returns_as_soon_as_the_job_ends_and_not_later_than_asked(http):
    job_id, begun = submit(http, FOREVER), time.monotonic()
    assert http.get(f"/jobs/{job_id}?wait=0.5").json()["status"]["state"] in {"waiting", "running"}
    assert time.monotonic() - begun > 0.4
    assert http.post(f"/jobs/{job_id}/cancel").json() == {"id": job_id, "cancelled": True}
    found = http.get(f"/jobs/{job_id}?wait=20").json()
    assert (found["status"]["state"], found["error"]["code"]) == ("cancelled", "cancelled")


def events(response):
    text = "".join(response.iter_text())
    pairs = [event.partition("\ndata: ") for event in text.split("\n\n") if event.strip()]
    return [(name.removeprefix("event: "), json.loads(data)) for name, _, data in pairs if data]


def test_the_events_of_a_job_are_its_status_its_text_and_its_result(http):
    job_id = submit(http, {"request": SLOW, "stream": True})
    with http.stream("GET", f"/jobs/{job_id}/events") as response:
        seen = events(response)
    names = [name for name, _ in seen]
    assert (names[0], names[-1]) == ("status", "result")
    assert names.count("text") >= 3
    text = "".join(data["text"] for name, data in seen if name == "text")
    answer = seen[-1][1]["answer"]["content"]["text"]
    assert answer == "one two three four"
    assert answer.startswith(text.strip())  # the result may overtake the last piece


def test_the_events_of_an_ended_job_are_its_status_and_result(http):
    job_id = submit(http, {"kind": "summarize", **REQUESTS["summarize"]})
    http.get(f"/jobs/{job_id}?wait=20")
    with http.stream("GET", f"/jobs/{job_id}/events") as response:
        assert [name for name, _ in events(response)] == ["status", "result"]


def test_a_watcher_that_goes_away_does_not_end_the_job(http):
    job_id = submit(http, {"request": SLOW, "stream": True})
    with http.stream("GET", f"/jobs/{job_id}/events") as response:
        next(response.iter_text())
    assert http.get(f"/jobs/{job_id}?wait=20").json()["status"]["state"] == "done"


def test_a_job_is_explained_and_forgotten(http):
    job_id = submit(http, {"kind": "summarize", **REQUESTS["summarize"]})
    http.get(f"/jobs/{job_id}?wait=20")
    assert http.get(f"/jobs/{job_id}/explain").json()["decisions"]
    assert http.delete(f"/jobs/{job_id}").json() == {"id": job_id, "forgotten": True}
    assert http.get(f"/jobs/{job_id}").status_code == 404


def test_another_tenants_job_does_not_exist(http, keys, served):
    job_id = submit(http, {"kind": "summarize", **REQUESTS["summarize"]})
    token = keys.create("globex", scopes=["submit", "read", "admin"])[1]
    headers = {"authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=served.gateway_url, headers=headers) as stranger:
        asked = [
            stranger.get(f"/jobs/{job_id}"), stranger.get(f"/jobs/{job_id}?wait=1"),
            stranger.get(f"/jobs/{job_id}/events"), stranger.get(f"/jobs/{job_id}/explain"),
            stranger.post(f"/jobs/{job_id}/cancel"), stranger.delete(f"/jobs/{job_id}"),
        ]  # fmt: skip
        refused = stranger.post(
            "/jobs", json={"tenant": "acme", "request": {"kind": "summarize", "text": "x"}}
        )
    assert [response.status_code for response in asked] == [404] * 6
    assert {response.json()["error"]["code"] for response in asked} == {"unknown_job"}
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "tenant")
    assert http.get(f"/jobs/{job_id}?wait=20").json()["status"]["state"] == "done"


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        (b"{", "body", "invalid_request"),
        (b"[]", "body", "invalid_request"),
        (b"\xff", "body", "invalid_request"),
        (b"[" * 5000, "body", "invalid_request"),
        (b'{"kind": "classify", "text": "x", "labels": ["a"]}', "labels", "invalid_job"),
        (b'{"request": {"kind": "summarize", "text": "x"}, "lanes": 1}', None, "invalid_job"),
        (b'{"request": {"kind": "summarize", "text": "x"}, "deadline": "1s1"}', "deadline", None),
    ],
)
def test_a_mistake_is_one_error_that_names_the_field(http, body, field, code):
    response = http.post("/jobs", content=body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert code is None or error["code"] == code
    assert field is None or error["field"] == field


@pytest.mark.parametrize("wait", ["soon", "-1", "301", "nan"])
def test_a_wrong_wait_is_refused(http, wait):
    response = http.get(f"/jobs/acme.{'0' * 32}", params={"wait": wait})
    assert (response.status_code, response.json()["error"]["field"]) == (400, "wait")


def test_a_tenant_sees_its_rules_its_budget_and_its_key(served, keys):
    token = keys.create("acme", name="billing", scopes=["read"], requests_per_minute=60)[1]
    headers = {"authorization": f"Bearer {token}"}
    info = httpx2.get(f"{served.gateway_url}/tenants/me", headers=headers).json()
    assert (info["tenant"], info["scopes"], info["may_leave"]) == ("acme", ["read"], True)
    assert (info["key"]["name"], info["key"]["requests_per_minute"]) == ("billing", 60)
    budget = info["budget"]
    assert (budget["limit_usd"], budget["reserved_usd"]) == (10.0, 0.0)
    assert budget["left_usd"] == pytest.approx(10.0 - budget["spent_usd"])
    assert "digest" not in json.dumps(info)


def test_a_full_queue_is_told_with_the_time_to_come_back(fleet):
    fleet.start_redis()
    fleet.start("gateway", FOREBAY_MAX_WAITING="2", FOREBAY_GATEWAY_TENANT="acme")
    fleet.wait_ready()
    chat = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
    with httpx2.Client(base_url=fleet.gateway_url) as http:
        for _ in range(2):
            submit(http, {"kind": "summarize", **REQUESTS["summarize"]})
        for path, body in (
            ("/jobs", {"kind": "summarize", "text": "x"}),
            ("/v1/chat/completions", chat),
        ):
            response = http.post(path, json=body)
            assert response.status_code == 429
            assert response.headers["retry-after"] == "30"
            assert "waiting already" in response.json()["error"]["message"]


def test_a_wait_that_takes_too_long_names_the_job_which_goes_on(fleet):
    fleet.start_redis()
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme", FOREBAY_GATEWAY_WAIT_S="0.3")
    fleet.wait_ready()
    chat = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
    with httpx2.Client(base_url=fleet.gateway_url, timeout=30) as http:
        response = http.post("/v1/chat/completions", json=chat)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        streamed = http.post("/v1/chat/completions", json={**chat, "stream": True})
        several = http.post("/v1/chat/completions", json={**chat, "stream": True, "n": 2})
        message = http.post("/v1/messages", json={**chat, "stream": True, "max_tokens": 9})
        for one in (streamed, several, message):
            assert '"code":"timeout"' in one.text
        for one in (response, streamed):
            found = http.get(f"/jobs/{one.headers['forebay-job-id']}").json()
            assert found["status"]["state"] == "waiting"


def test_of_several_choices_all_are_taken_or_none(fleet):
    fleet.start_redis()
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme", FOREBAY_MAX_WAITING="2")
    fleet.wait_ready()
    chat = {"model": "auto", "n": 3, "messages": [{"role": "user", "content": "Hello."}]}
    with httpx2.Client(base_url=fleet.gateway_url, timeout=30) as http:
        assert http.post("/v1/chat/completions", json=chat).status_code == 429
    with redis_py.Redis.from_url(fleet.url) as client:
        states = [client.hget(key, "state") for key in client.keys("fb:job:*")]
    assert states == [b"cancelled"] * 2


def test_without_redis_it_is_not_ready_and_says_why_until_redis_is_back(fleet):
    server = fleet.start_redis()
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
    fleet.wait_ready()
    fleet.kill(server)
    with httpx2.Client(base_url=fleet.gateway_url, timeout=30) as http:
        assert http.get("/healthz").status_code == 200
        ready = until(lambda: (got := http.get("/readyz")).status_code == 503 and got)
        assert ready.json()["error"]["code"] == "unavailable"
        asked = http.post("/jobs", json={"kind": "summarize", "text": "x"})
        assert (asked.status_code, asked.headers["x-should-retry"]) == (503, "true")
        fleet.start_redis(urlsplit(fleet.url).port)
        until(lambda: http.get("/readyz").status_code == 200, within_s=20)
        assert http.post("/jobs", json={"kind": "summarize", "text": "x"}).status_code == 202


@pytest.mark.parametrize("given", ["%C2%97I%C3%90", "%08%0A", "x" * 300, "acme.0", "%00"])
def test_what_is_no_job_id_is_not_found_and_not_repeated(http, given):
    response = http.get(f"/jobs/{given}")
    assert response.status_code == 404
    assert response.json()["error"]["job_id"] is None
    assert "forebay-job-id" not in response.headers

"""Keys, scopes and limits, seen by a caller of a real gateway."""

from __future__ import annotations

import time
from datetime import timedelta

import httpx2
import openai
import pytest

from local.fleet import Fleet
from patience import until

pytestmark = pytest.mark.slow

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture
def ask(served):
    """Send a chat with a key; return the response."""

    def ask(key, path="/v1/chat/completions", **headers):
        if key:
            headers["authorization"] = f"Bearer {key}".encode()
        url = f"{served.gateway_url}{path}"
        return httpx2.post(url, json=CHAT, headers=headers, timeout=30)

    return ask


def test_without_a_key_nothing_is_answered(ask):
    response = ask("")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthorized"
    assert "Authorization: Bearer" in response.json()["error"]["message"]


def test_a_key_may_come_as_either_client_sends_it(ask, key):
    assert ask(key).status_code == 200
    assert ask("", **{"x-api-key": key}).status_code == 200


@pytest.mark.parametrize("broken", ["fb_{id}_wrong", "fb_000000000000_{secret}", "{secret}", "é"])
def test_a_wrong_key_is_refused_in_the_same_words(ask, key, broken):
    _, key_id, secret = key.split("_", 2)
    response = ask(broken.format(id=key_id, secret=secret))
    assert response.status_code == 401
    assert secret not in response.text
    assert "not valid" in response.json()["error"]["message"]


def test_a_revoked_key_works_no_more_within_seconds(ask, keys):
    made, token = keys.create("acme")
    assert ask(token).status_code == 200
    keys.revoke(made.id)
    until(lambda: ask(token).status_code == 401, within_s=5)


def test_an_expired_key_is_refused(ask, keys):
    token = keys.create("acme", expires_in=timedelta(milliseconds=50))[1]
    time.sleep(0.1)
    assert ask(token).status_code == 401


def test_a_key_does_only_what_its_scopes_say(ask, keys, served):
    reader, writer = (
        keys.create("acme", scopes=["read"])[1],
        keys.create("acme", scopes=["submit"])[1],
    )
    response = ask(reader)
    assert response.status_code == 403
    assert "`submit`" in response.json()["error"]["message"]
    client = openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=writer)
    with client, pytest.raises(openai.PermissionDeniedError):
        client.models.list()


def test_requests_beyond_the_limit_are_told_when_to_come_back(ask, keys):
    token = keys.create("acme", requests_per_minute=2)[1]
    first, second, third = (ask(token) for _ in range(3))
    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert third.headers["x-should-retry"] == "true"
    assert third.json()["error"]["code"] == "rate_limited"


def test_tokens_that_an_answer_did_not_take_are_given_back(ask, keys):
    token = keys.create("acme", tokens_per_minute=1000)[1]
    # Each is estimated at 513 tokens, and takes 2: without giving back, the second would wait.
    assert [ask(token).status_code for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("how", ["stream", "job"])
def test_a_job_that_is_refused_takes_no_tokens(served, keys, how):
    headers = {"authorization": f"Bearer {keys.create('acme', tokens_per_minute=1000)[1]}"}
    key = {"idempotency-key": how}

    def ask(text):
        messages = [{"role": "user", "content": text}]
        body = {"model": "auto", "messages": messages, "max_tokens": 600, "stream": True}
        path = "/v1/chat/completions"
        if how == "job":
            body, path = {"kind": "generate", "messages": messages, "max_tokens": 600}, "/jobs"
        url = f"{served.gateway_url}{path}"
        return httpx2.post(url, json=body, headers=headers | key).status_code

    first = ask("Hello.")
    assert first in {200, 202}
    if how == "job":  # nobody waits for it, so it keeps its tokens
        headers["authorization"] = f"Bearer {keys.create('acme', tokens_per_minute=1000)[1]}"
    # Each is estimated at 600 tokens and more: without giving back, the second would be a 429.
    assert [ask("Another text.") for _ in range(4)] == [409] * 4


def test_the_body_has_a_limit_whether_it_is_declared_or_not(served, key):
    headers = {"authorization": f"Bearer {key}"}
    url = f"{served.gateway_url}/v1/chat/completions"
    big = b"x" * 100_001

    def chunks():
        yield big[:50_000]
        yield big[50_000:]

    for content in (big, chunks()):
        response = httpx2.post(url, content=content, headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"


def test_a_request_keeps_its_callers_id_and_gets_one_otherwise(ask, key):
    assert ask(key, **{"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert ask(key, **{"x-request-id": "not one!"}).headers["x-request-id"].startswith("req_")
    error = ask("", **{"x-request-id": "mine-8"})
    assert error.json()["error"]["request_id"] == "mine-8"


def test_no_other_site_may_use_a_browser_for_requests(served):
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    response = httpx2.options(f"{served.gateway_url}/v1/chat/completions", headers=preflight)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.fixture(scope="module")
def keyless(tmp_path_factory):
    """Return the URL of a gateway that takes no keys."""
    with Fleet(tmp_path_factory.mktemp("keyless")) as fleet:
        fleet.start_redis()
        fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
        fleet.wait_ready()
        yield fleet.gateway_url


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example", "origin": "http://evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": ""},
    ],
)
def test_without_keys_a_page_of_another_site_is_refused(keyless, headers):
    headers = {"content-type": "text/plain", **headers}
    for method, path in (("POST", "/jobs"), ("GET", "/tenants/me"), ("GET", "/v1/models")):
        response = httpx2.request(method, f"{keyless}{path}", headers=headers, content=b"{}")
        assert response.status_code == 403, response.text


def test_without_keys_this_machine_and_the_gateways_own_pages_are_answered(keyless):
    port = keyless.rpartition(":")[2]
    for headers in (
        {},
        {"host": f"localhost:{port}"},
        {"host": f"[::1]:{port}"},
        {"origin": keyless},
    ):
        assert httpx2.get(f"{keyless}/tenants/me", headers=headers).json()["tenant"] == "acme"


#: Endpoints that need no key, and those of people, who come with a cookie.
OPEN = ("/healthz", "/readyz", "/metrics", "/status")
NO_SCOPE = {"GET": "submit", "POST": "read", "DELETE": "submit"}


def test_no_endpoint_does_more_than_the_scopes_of_a_key_say(served, keys):
    """Whoever adds an endpoint forgets no scope: each of them is asked with a key that lacks it."""
    document = httpx2.get(f"{served.gateway_url}/openapi.json").json()
    lacking = {name: keys.create("acme", scopes=[name])[1] for name in ("submit", "read")}
    outside = keys.create("acme", scopes=["operator"])[1]
    let_in = []
    with httpx2.Client(base_url=served.gateway_url, timeout=30) as client:
        for template, methods in document["paths"].items():
            path = template.replace("{", "x").replace("}", "")
            for method in () if path.startswith(OPEN) else methods:
                for key in (outside, lacking[NO_SCOPE[method.upper()]]):
                    headers = {"authorization": f"Bearer {key}"}
                    response = client.request(method, path, headers=headers, content=b"{}")
                    if response.status_code != 403:
                        let_in.append((method, path, response.status_code))
    assert let_in == []

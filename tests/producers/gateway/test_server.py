"""The server itself: health, figures, documentation, and how it ends."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading

import httpx2
import openai
import psutil
import pytest
import redis as redis_py

from forebay.producers.gateway.api_keys import KeyStore
from patience import until

pytestmark = pytest.mark.slow

CHAT = [{"role": "user", "content": "[[echo: delay=0.4]] one two three"}]


def test_health_needs_no_key(served):
    for path in ("/healthz", "/readyz"):
        response = httpx2.get(f"{served.gateway_url}{path}")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        assert httpx2.head(f"{served.gateway_url}{path}").status_code == 200


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/chat/completions", "GET, POST"),
        ("/v1/embeddings", "POST"),
        (f"/v1/responses/resp_{0:032}", "DELETE, GET"),
        ("/healthz", "GET, HEAD"),
    ],
)
def test_another_method_is_refused_with_those_that_there_are(served, path, allow):
    response = httpx2.put(f"{served.gateway_url}{path}")
    assert (response.status_code, response.headers["allow"]) == (405, allow)


def test_figures_count_requests_by_route_and_status_and_name_no_id(served, openai_client, http):
    job = openai_client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "canary"}]
    )
    http.get("/v1/models/none/of/these")
    text = httpx2.get(f"{served.gateway_url}/metrics").text
    counted = 'forebay_gateway_requests_total{route="/v1/chat/completions",status="200"}'
    assert re.search(rf"{re.escape(counted)} [1-9]", text)
    assert 'route="/v1/models/{model:path}",status="404"' in text
    assert "forebay_gateway_requests_in_flight" in text
    assert job.forebay["job_id"].partition(".")[2] not in text
    assert "canary" not in text


def test_the_documentation_names_every_model_and_every_reference_resolves(served):
    document = httpx2.get(f"{served.gateway_url}/openapi.json").json()
    text = json.dumps(document)
    refs = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert {"ChatRequest", "ChatCompletion", "OpenAIError"} <= refs
    assert refs <= set(document["components"]["schemas"])


def test_the_documentation_begins_with_chats_and_its_examples_can_be_sent(served, http):
    document = httpx2.get(f"{served.gateway_url}/openapi.json").json()
    used = {tag for path in document["paths"].values() for one in path.values()
            for tag in one["tags"]}  # fmt: skip
    tags = [tag["name"] for tag in document["tags"]]
    assert (tags[0], set(tags)) == ("OpenAI", used)
    sent = 0
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        example = content.get("application/json", {}).get("example")
        if example is not None:
            sent += 1
            response = http.post(path, json=example)
            assert response.status_code in {200, 202}, response.text
    assert sent >= 8


def test_the_page_of_the_documentation_takes_everything_from_the_gateway(served):
    page = httpx2.get(f"{served.gateway_url}/docs").text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(parts) >= 2
    for part in parts:
        assert part.startswith("/")
        assert httpx2.get(f"{served.gateway_url}{part}").status_code == 200


def test_an_unknown_path_is_an_error_in_the_format_of_its_neighbours(served):
    for path, read in (("/v1/nothing", "message"), ("/nothing", "code")):
        response = httpx2.get(f"{served.gateway_url}{path}")
        assert response.status_code == 404
        assert response.json()["error"][read]
        assert "/docs shows all of them" in response.json()["error"]["message"]


def test_on_sigterm_a_request_in_flight_is_answered_and_no_job_is_lost(fleet, tmp_path):
    fleet.start_redis()
    for part in ("router", "local"):
        fleet.start(part, FOREBAY_ENGINE="echo")
    gateway = fleet.start("gateway", PROCESSES="2")
    fleet.wait_ready()
    with redis_py.Redis.from_url(fleet.url) as client:
        key = KeyStore(client).create("acme")[1]
        base_url = f"{fleet.gateway_url}/v1"
        answers = []

        def ask():
            with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as asking:
                answers.append(asking.chat.completions.create(model="auto", messages=CHAT))

        thread = threading.Thread(target=ask)
        thread.start()
        while not client.keys("fb:job:acme.*"):
            pass
        gateway.send(signal.SIGTERM)
        thread.join(timeout=20)
        assert gateway.wait(15)
    assert answers[0].choices[0].message.content.strip() == "one two three"


def test_several_processes_count_together_and_a_dead_one_is_replaced(fleet):
    fleet.start_redis()
    gateway = fleet.start("gateway", PROCESSES="2", FOREBAY_GATEWAY_TENANT="acme")
    fleet.wait_ready()

    def counted():
        text = httpx2.get(f"{fleet.gateway_url}/metrics").text
        found = re.search(r'route="/tenants/me",status="200"} (\d+)', text)
        return int(found[1]) if found else 0

    def ask():
        with contextlib.suppress(httpx2.TransportError):  # of the process that was killed
            return httpx2.get(f"{fleet.gateway_url}/tenants/me").status_code

    assert [ask() for _ in range(20)] == [200] * 20
    assert {counted() for _ in range(10)} == {20}
    children = [
        child
        for child in psutil.Process(gateway.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(children) == 2
    children[0].kill()
    until(lambda: [ask() for _ in range(10)] == [200] * 10)

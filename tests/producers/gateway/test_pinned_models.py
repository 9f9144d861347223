"""Pins to a model: any that the policy allows on Bedrock, and any that the tenant's pools serve."""

from __future__ import annotations

import json
from contextlib import contextmanager

import anthropic
import openai
import pytest

from forebay import Client, Unavailable
from forebay.routing.settings import Settings
from patience import until

pytestmark = pytest.mark.slow

TENANT = "pins"
SECOND = "anthropic.claude-sonnet-5-5"
ASK = {"kind": "generate", "messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def client_of(served, keys, tenant):
    key = keys.create(tenant, scopes=("submit", "read"))[1]
    url = f"{served.gateway_url}/v1"
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def client(served, keys):
    """Return a client of a tenant with a second pool, whose worker serves another model."""
    worker = served.start("local", FOREBAY_POOL="small", FOREBAY_ECHO_MODEL="echo-small")
    served.wait_ready()
    with client_of(served, keys, TENANT) as client:
        until(lambda: {"echo", "echo-small"} <= {model.id for model in client.models.list()})
        yield client
    served.kill(worker)


def ask(client, model, **options):
    messages = [{"role": "user", "content": "hello"}]
    return client.chat.completions.create(model=model, messages=messages, **options)


@pytest.mark.parametrize("model", ["echo", "echo-small"])
def test_each_local_model_of_the_tenants_pools_can_be_pinned(client, model):
    completion = ask(client, model)
    assert (completion.model, completion.forebay["lane"]) == (model, "local")


def test_each_model_of_the_policy_can_be_pinned(client):
    listed = [model.id for model in client.models.list()]
    assert {"anthropic.claude-haiku-5-5", SECOND} < set(listed)
    completion = ask(client, SECOND, extra_headers={"forebay-egress": "allow"})
    assert (completion.model, completion.forebay["lane"]) == (SECOND, "bedrock")


def test_a_pin_to_a_model_on_bedrock_does_not_let_content_out(client):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(client, SECOND)
    assert caught.value.code == "egress_denied"


def test_a_cached_answer_of_another_model_is_no_answer(client):
    own = {"extra_headers": {"forebay-cache": "true"}}
    assert not ask(client, "echo-small", **own).forebay["cached"]
    again = ask(client, "echo-small", **own)
    assert (again.model, again.forebay["cached"]) == ("echo-small", True)
    assert ask(client, "echo", **own).model == "echo"


def test_the_model_of_another_tenants_pool_is_unknown(client, served, keys):
    with (
        client_of(served, keys, "acme") as other,
        pytest.raises(openai.NotFoundError, match="there are auto, local") as caught,
    ):
        ask(other, "echo-small")
    assert caught.value.param == "model"


def batch_of(client, models):
    """Run a batch of one chat for each of these models; return output and errors by custom id."""
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": model, "messages": [{"role": "user", "content": f"hello {n}"}]}}
        for n, model in enumerate(models)
    ]  # fmt: skip
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    ended = until(lambda: (now := client.batches.retrieve(batch.id)).status == "completed" and now)
    found = {}
    for made in filter(None, (ended.output_file_id, ended.error_file_id)):
        for line in client.files.content(made).text.splitlines():
            found[json.loads(line)["custom_id"]] = json.loads(line)["response"]
    return [found[str(n)] for n in range(len(models))]


def test_each_line_of_a_batch_can_name_a_local_model(client):
    models = ["echo-small", "auto", "echo", "echo-big", "echo-small"]
    responses = batch_of(client, models)
    assert [response["status_code"] for response in responses] == [200, 200, 200, 404, 200]
    bodies = [response["body"] for response in responses]
    assert [body["model"] for body in bodies if "model" in body] == [
        "echo-small", "echo", "echo", "echo-small",
    ]  # fmt: skip
    error = bodies[3]["error"]
    assert (error["param"], error["code"]) == ("model", "unknown_model")
    assert "echo-small" in error["message"]


def test_a_request_of_anthropics_batch_can_name_a_local_model(served, keys, client):
    key = keys.create(TENANT, scopes=("submit", "read"))[1]
    requests = [
        {"custom_id": model, "params": {
            "model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}}
        for model in ("echo-small", "echo-big")
    ]  # fmt: skip
    with anthropic.Anthropic(base_url=served.gateway_url, api_key=key, max_retries=0) as messages:
        batch = messages.messages.batches.create(requests=requests)
        batches = messages.messages.batches
        until(lambda: batches.retrieve(batch.id).processing_status == "ended")
        pinned, unknown = (line.result for line in batches.results(batch.id))
    assert pinned.message.model == "echo-small"
    assert unknown.error.error.type == "not_found_error"


def test_rows_of_a_bulk_can_name_a_local_model(client, served):
    rows = [{"model": model, "request": ASK} for model in ("echo-small", "echo", "echo-small")]
    with Client(tenant=TENANT, settings=Settings(redis_url=served.url)) as producer:
        answers = list(producer.bulk(rows))
    assert [row["model"] for row in answers] == ["echo-small", "echo", "echo-small"]
    assert {row["status"] for row in answers} == {"done"}


def test_a_job_names_its_model_beside_its_lane(client, served):
    with Client(tenant=TENANT, settings=Settings(redis_url=served.url)) as producer:
        answer = producer.run(ASK, lane="local", model="echo-small")
        assert answer.model == "echo-small"


def test_a_job_for_a_model_that_nobody_serves_waits_and_says_so(client, served):
    with Client(tenant=TENANT, settings=Settings(redis_url=served.url)) as producer:
        job_id = producer.submit(ASK, lane="local", model="echo-big")
        why = until(lambda: (found := producer.explain(job_id))["error"] and found)
        assert why["error"] == Unavailable.code
        assert "served by no worker" in why["error_note"]
        producer.cancel(job_id)

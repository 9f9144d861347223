"""Pins to a model: any that the policy allows on Bedrock, and any that the tenant's pools serve."""

from __future__ import annotations

from contextlib import contextmanager

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

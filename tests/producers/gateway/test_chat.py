"""Chat completions, asked by OpenAI's own client."""

from __future__ import annotations

import json

import openai
import pytest

from forebay.routing.jobs import owner

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello there, forebay."}]
LABELS = {"forebay": {"labels": ["billing", "login"]}}


def complete(client, messages=HELLO, model="auto", **options):
    return client.chat.completions.create(model=model, messages=messages, **options)


def refused(client, status, **options):
    with pytest.raises(openai.APIStatusError) as caught:
        complete(client, **options)
    assert caught.value.status_code == status, caught.value
    return caught.value


def test_a_chat_is_answered_with_usage_and_origin(openai_client):
    completion = complete(openai_client)
    (choice,) = completion.choices
    assert choice.message.content == "Hello there, forebay."
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 3)
    assert usage.total_tokens == 6
    origin = completion.forebay
    assert (origin["lane"], origin["model"], origin["egress"]) == ("local", "echo", "deny")
    assert owner(origin["job_id"]) == "acme"
    assert completion.id == f"chatcmpl-{origin['job_id'].partition('.')[2]}"


def test_the_response_says_in_its_headers_where_the_answer_comes_from(openai_client):
    response = openai_client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
    headers = response.headers
    assert headers["forebay-lane"] == "local"
    assert headers["forebay-degraded"] == "false"
    assert float(headers["forebay-cost-usd"]) == 0
    assert headers["forebay-reason"]
    assert headers["x-request-id"].startswith("req_")
    assert owner(headers["forebay-job-id"]) == "acme"


@pytest.mark.parametrize("model", ["auto", "local", "gpt-5-mini", "forebay/generate"])
def test_a_model_may_be_a_lane_a_kind_or_an_alias(openai_client, model):
    assert complete(openai_client, model=model).choices[0].message.content == HELLO[0]["content"]


def test_a_label_is_the_answer_of_forebay_classify(openai_client):
    messages = [{"role": "user", "content": "I cannot find the login page."}]
    completion = complete(openai_client, messages, "forebay/classify", extra_body=LABELS)
    assert completion.choices[0].message.content == "login"
    assert completion.forebay["kind"] == "classify"


def test_an_object_is_the_answer_of_forebay_extract(openai_client):
    schema = {
        "type": "object",
        "properties": {"total": {"type": "integer"}},
        "required": ["total"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "bill", "schema": schema}}
    for model in ("forebay/extract", "auto"):
        completion = complete(openai_client, model=model, response_format=wanted)
        assert isinstance(json.loads(completion.choices[0].message.content)["total"], int)


def test_parts_of_text_are_one_text_and_developers_are_the_system(openai_client):
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there."}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert complete(openai_client, messages).choices[0].message.content == "Hello there."


def test_n_choices_are_n_jobs_with_one_usage(openai_client):
    completion = complete(openai_client, n=3, seed=2**40)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    ids = {choice.forebay["job_id"] for choice in completion.choices}
    assert len(ids) == 3
    assert completion.usage.completion_tokens == 9


def test_an_answer_of_the_frontier_says_what_it_cost(openai_client):
    allowed = {"forebay": {"egress": "allow", "max_cost_usd": 1}}
    completion = complete(openai_client, model="bedrock", extra_body=allowed)
    origin = completion.forebay
    assert (origin["lane"], origin["egress"], origin["stand_in"]) == ("bedrock", "allow", True)
    assert origin["cost_usd"] > 0
    assert completion.model == origin["model"] != "echo"
    cheap = {"forebay": {"egress": "allow", "max_cost_usd": 0}}
    error = refused(openai_client, 402, model="bedrock", extra_body=cheap)
    assert (error.code, error.param) == ("budget_exceeded", "max_cost_usd")


def test_stop_and_max_tokens_end_the_text(openai_client):
    assert complete(openai_client, stop="there").choices[0].message.content.strip() == "Hello"
    cut = complete(openai_client, max_completion_tokens=1).choices[0]
    assert (cut.message.content.strip(), cut.finish_reason) == ("Hello", "length")


def test_our_own_fields_come_by_headers_or_in_the_body(openai_client, http):
    headers = {"forebay-priority": "bulk", "forebay-metadata": '{"ticket": "7"}'}
    completion = complete(openai_client, extra_headers=headers)
    assert completion.service_tier == "flex"
    own = {"forebay": {"priority": "bulk", "deadline": "5m", "metadata": {"ticket": "7"}}}
    assert complete(openai_client, extra_body=own).service_tier == "flex"
    assert complete(openai_client, service_tier="flex").service_tier == "flex"


def test_an_idempotency_key_leads_to_the_first_job(openai_client):
    headers = {"idempotency-key": "once"}
    first, second = (complete(openai_client, extra_headers=headers) for _ in range(2))
    assert first.id == second.id
    other = [{"role": "user", "content": "Something else."}]
    error = refused(openai_client, 409, messages=other, extra_headers=headers)
    assert error.body["job_id"] == first.forebay["job_id"]


@pytest.mark.parametrize(
    ("options", "status", "param", "code"),
    [
        ({"tools": [{"type": "function"}]}, 400, "tools.0.function", "invalid_request"),
        ({"n": 9}, 400, "n", "invalid_request"),
        ({"temperature": 3}, 400, "temperature", "invalid_job"),
        ({"max_completion_tokens": 0}, 400, "max_completion_tokens", "invalid_job"),
        ({"model": "gpt-9"}, 404, "model", "unknown_model"),
        ({"model": "bedrock"}, 403, "egress", "egress_denied"),
        ({"model": "forebay/embed"}, 400, "model", "invalid_request"),
        ({"model": "forebay/classify"}, 400, "forebay.labels", "invalid_job"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages", "invalid_job"),
        ({"messages": [{"role": "critic"}]}, 400, "messages.0.role", "invalid_request"),
        ({"extra_body": {"egres": "allow"}}, 400, "egres", "invalid_request"),
        ({"extra_body": {"forebay": {"egres": 1}}}, 400, "forebay.egres", "invalid_request"),
        ({"extra_body": {"forebay": {"focus": "x"}}}, 400, "forebay.focus", "invalid_request"),
        ({"extra_headers": {"forebay-cache": "maybe"}}, 400, "forebay-cache", "invalid_request"),
        ({"extra_headers": {"forebay-deadline": "soon"}}, 400, "deadline", "invalid_job"),
        ({"extra_headers": {"forebay-egres": "allow"}}, 400, "forebay-egres", "invalid_request"),
        ({"metadata": {str(n): "x" for n in range(17)}}, 400, "metadata", "invalid_request"),
        ({"metadata": {"k" * 65: "x"}}, 400, "metadata", "invalid_request"),
        ({"metadata": {"k": "x" * 513}}, 400, "metadata", "invalid_request"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "invalid_request"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_error_that_names_the_field(openai_client, options, status, param, code):
    error = refused(openai_client, status, **options)
    assert (error.param, error.code) == (param, code)
    assert param in error.body["message"]
    assert error.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_of_another_request_is_a_conflict_which_no_client_repeats(openai_client, stream):
    first = complete(openai_client, extra_headers={"idempotency-key": f"kept {stream}"})
    other = [{"role": "user", "content": "Something else."}]
    headers = {"idempotency-key": f"kept {stream}"}
    with pytest.raises(openai.ConflictError) as caught:
        complete(openai_client, other, extra_headers=headers, stream=stream)
    assert (caught.value.code, caught.value.param) == ("key_reused", "idempotency_key")
    assert caught.value.body["job_id"] == first.forebay["job_id"]
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_metadata_within_the_limits_are_taken(openai_client):
    metadata = {f"{number:064}": "x" * 512 for number in range(16)}
    assert complete(openai_client, metadata=metadata).choices[0].finish_reason == "stop"


def test_an_image_is_refused_by_its_place(openai_client):
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    error = refused(openai_client, 400, messages=messages)
    assert (error.param, error.code) == ("messages.0.content", "not_supported")
    assert "part 1" in error.body["message"]


def test_a_job_that_fails_is_an_error_with_its_id_and_is_not_repeated(served, key):
    with openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=key, max_retries=2) as client:
        deadline = {"forebay": {"deadline": "1s"}}
        slow = [{"role": "user", "content": "[[echo: delay=30]] never"}]
        error = refused(client, 504, messages=slow, extra_body=deadline)
    assert error.code == "expired"
    assert owner(error.body["job_id"]) == "acme"


@pytest.mark.parametrize("part", [{"type": []}, {}, [], "text", {"type": "text"}, {"type": "file"}])
def test_a_part_that_is_no_text_is_refused(openai_client, part):
    messages = [{"role": "user", "content": [part]}]
    assert refused(openai_client, 400, messages=messages).param == "messages.0.content"


def test_what_the_assistant_refused_is_a_part_of_the_chat(openai_client):
    refused_before = {"role": "assistant", "content": None, "refusal": "I cannot."}
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    for earlier in (refused_before, part):
        completion = complete(openai_client, [HELLO[0], earlier, HELLO[0]])
        assert completion.choices[0].message.content == HELLO[0]["content"]
    wrong = [{"role": "user", "content": "x", "refusal": "no"}]
    assert refused(openai_client, 400, messages=wrong).param == "messages.0.refusal"


def test_the_probabilities_of_tokens_are_told_if_asked_for(openai_client):
    completion = complete(openai_client, logprobs=True, top_logprobs=3)
    tokens = completion.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == HELLO[0]["content"]
    assert all(token.logprob == pytest.approx(-0.105, abs=0.001) for token in tokens)
    assert tokens[0].top_logprobs[0].token == tokens[0].token
    assert bytes(tokens[0].bytes).decode() == tokens[0].token
    assert complete(openai_client).choices[0].logprobs is None


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "tools": [{"type": "function", "function": {"name": "f"}}]},
         "logprobs"),
        ({"logprobs": True, "model": "forebay/summarize"}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "model": "bedrock", "extra_headers": {"forebay-egress": "allow"}},
         "lane"),
    ],
)  # fmt: skip
def test_probabilities_that_cannot_be_told_are_refused(openai_client, options, param):
    assert refused(openai_client, 400, **options).param == param


def test_a_job_that_asks_for_probabilities_stays_local(openai_client):
    unsure = [{"role": "user", "content": "Is it? [[echo: confidence=0.1]]"}]
    headers = {"forebay-egress": "allow"}
    completion = complete(openai_client, unsure, logprobs=True, extra_headers=headers)
    assert completion.forebay["lane"] == "local"
    assert "logprobs_are_local" in completion.forebay["reasons"]

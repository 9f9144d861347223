"""Responses that continue earlier ones, asked by OpenAI's own client."""

from __future__ import annotations

import openai
import pytest

pytestmark = pytest.mark.slow

ALLOW = {"forebay": {"egress": "allow"}}
TOOL = {"type": "function", "name": "weather", "strict": None,
        "parameters": {"type": "object", "properties": {}}}  # fmt: skip


def create(client, given="one", before=None, **options):
    options |= {"previous_response_id": before.id} if before else {}
    return client.responses.create(model="auto", input=given, **options)


def refused(client, kind, **options):
    with pytest.raises(kind) as caught:
        create(client, **options)
    return caught.value


def test_a_response_continues_another_and_conversations_branch(openai_client):
    first = create(openai_client, "one", instructions="Be brief.")
    second = create(openai_client, "two", first)
    third = create(openai_client, "three", second)
    other = create(openai_client, "four", second, instructions="Be brief.", stream=True)
    branch = list(other)[-1].response
    assert second.previous_response_id == first.id
    assert openai_client.responses.retrieve(third.id).previous_response_id == second.id
    # The echo engine says the last message, and counts the words of all: instructions are new.
    used = [one.usage.input_tokens for one in (first, second, third, branch)]
    assert used == [3, 3, 5, 7]
    items = openai_client.responses.input_items.list(third.id).data
    assert [item.content[0].text for item in items] == ["three"]


def test_a_call_of_a_tool_is_answered_by_the_next_response(openai_client):
    first = create(openai_client, tools=[TOOL], tool_choice="required")
    output = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": ""}
    then = create(openai_client, [output], first)
    assert then.output_text == "Result of weather:\n(nothing)"
    wrong = refused(openai_client, openai.BadRequestError, given=[output])
    assert wrong.param == "input.0.call_id"


def test_a_conversation_with_a_deleted_or_unstored_response_is_refused(openai_client):
    first = create(openai_client)
    second = create(openai_client, before=first)
    openai_client.responses.delete(first.id)
    unstored = create(openai_client, store=False)
    for before in (first, second, unstored):
        error = refused(openai_client, openai.NotFoundError, before=before)
        assert error.param == "previous_response_id"
    running = create(openai_client, "[[echo: delay=0.5]] " + "word " * 100, background=True)
    error = refused(openai_client, openai.BadRequestError, before=running)
    assert error.param == "previous_response_id"
    openai_client.responses.cancel(running.id)


def test_what_may_not_leave_does_not_leave_in_a_later_response(openai_client):
    closed, opened = create(openai_client), create(openai_client, extra_body=ALLOW)
    error = refused(openai_client, openai.PermissionDeniedError, before=closed, extra_body=ALLOW)
    assert (error.code, error.param) == ("egress_denied", "forebay.egress")
    between = create(openai_client, before=closed)
    refused(openai_client, openai.PermissionDeniedError, before=between, extra_body=ALLOW)
    headers = {"forebay-egress": "allow"}
    refused(openai_client, openai.PermissionDeniedError, before=closed, extra_headers=headers)
    assert create(openai_client, before=opened, extra_body=ALLOW).forebay["egress"] == "allow"


def test_a_conversation_is_read_by_its_tenant_with_the_scope_alone(openai_client, keys, served):
    first = create(openai_client)
    for tenant, scopes, kind in (
        ("rival", ("submit", "read"), openai.NotFoundError),
        ("acme", ("submit",), openai.PermissionDeniedError),
    ):
        key = keys.create(tenant, scopes=scopes)[1]
        with openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=key, max_retries=0) as one:
            refused(one, kind, before=first)


def test_what_was_said_comes_back_as_the_client_has_it(openai_client):
    """With all fields, those that are null too, thoughts, and texts in which nothing is said."""
    first = create(openai_client)
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    items = [
        {"role": "user", "content": "one"}, thought,
        *(item.model_dump() | {"later_field": None} for item in first.output),
        {"role": "assistant", "content": ""}, {"role": "user", "content": "two"},
    ]  # fmt: skip
    assert create(openai_client, items).output_text == "two"
    said = {"role": "assistant", "content": "", "annotations": None, "later_field": None}
    messages = [{"role": "user", "content": "one"}, said, {"role": "user", "content": "two"}]
    chat = openai_client.chat.completions.create(
        model="auto", messages=messages, extra_body={"later_field": None}
    )
    assert chat.choices[0].message.content == "two"
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": ""}]
        )
    assert caught.value.param == "messages.0.content"


def test_a_background_response_under_a_known_key_is_as_it_is_now(openai_client):
    options = {"background": True, "extra_headers": {"idempotency-key": "in the background"}}
    first = create(openai_client, **options)
    done = list(openai_client.responses.retrieve(first.id, stream=True))[-1].response
    again = create(openai_client, **options)
    assert (again.id, again.status, again.output_text) == (first.id, "completed", done.output_text)

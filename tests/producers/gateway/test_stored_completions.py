"""Chat completions that are stored, asked by OpenAI's own client."""

from __future__ import annotations

import secrets

import openai
import pytest
import redis as redis_py

from patience import until

pytestmark = pytest.mark.slow

PARTS = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there."}]
HELLO = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "name": "ada", "content": PARTS},
]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def run():
    """Return a mark by which the completions of this module are told from all others."""
    return secrets.token_hex(4)


def complete(client, messages=HELLO, **options):
    return client.chat.completions.create(model="auto", messages=messages, store=True, **options)


def test_a_stored_completion_is_retrieved_with_what_was_asked(openai_client, run):
    asked = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "metadata": {"run": run, "n": "two"}}
    made = complete(openai_client, n=2, tools=[TOOL], tool_choice="required", **asked)
    found = openai_client.chat.completions.retrieve(made.id)
    assert (found.id, found.choices, found.usage) == (made.id, made.choices, made.usage)
    assert abs(found.created - made.created) <= 1
    assert found.metadata == asked["metadata"]
    assert (found.temperature, found.top_p, found.seed, found.tools) == (0.5, 0.9, 7, [TOOL])
    assert found.choices[1].message.tool_calls[0].function.name == "weather"


def test_the_messages_of_a_stored_completion_are_listed_as_they_came(openai_client):
    made = complete(openai_client)
    messages = list(openai_client.chat.completions.messages.list(made.id, limit=1))
    assert [message.id for message in messages] == [f"{made.id}-0", f"{made.id}-1"]
    assert [message.role for message in messages] == ["developer", "user"]
    assert (messages[0].content, messages[0].content_parts) == ("Be brief.", None)
    assert (messages[1].content, messages[1].name) == ("Hello there.", "ada")
    assert [part.text for part in messages[1].content_parts] == [part["text"] for part in PARTS]
    newest = openai_client.chat.completions.messages.list(made.id, order="desc").data
    assert [message.id for message in newest] == [f"{made.id}-1", f"{made.id}-0"]


def test_stored_completions_are_listed_by_metadata_and_model_page_by_page(openai_client, run):
    mark = {"run": run, "what": "pages"}
    made = [complete(openai_client, metadata={**mark, "at": str(at)}).id for at in range(3)]
    listed = openai_client.chat.completions.list
    assert [one.id for one in listed(metadata=mark, limit=2)] == made
    assert [one.id for one in listed(metadata=mark, order="desc", limit=1)] == made[::-1]
    first = listed(metadata=mark, limit=2)
    assert (len(first.data), first.has_more) == (2, True)
    assert not listed(metadata=mark, limit=2, after=made[1]).has_more
    assert [one.id for one in listed(metadata={**mark, "at": "1"})] == [made[1]]
    assert [one.id for one in listed(metadata=mark, model="echo")] == made
    assert [one.id for one in listed(metadata=mark, model="auto")] == made
    assert listed(metadata=mark, model="other").data == []


def test_metadata_are_replaced_and_found_again(openai_client, run):
    made = complete(openai_client, metadata={"run": run, "old": "1"})
    metadata = {"run": run, "new": "x" * 512}
    changed = openai_client.chat.completions.update(made.id, metadata=metadata)
    assert (changed.metadata, changed.choices) == (metadata, made.choices)
    assert openai_client.chat.completions.retrieve(made.id).metadata == metadata
    found = openai_client.chat.completions.list(metadata={"new": "x" * 512, "run": run})
    assert [one.id for one in found] == [made.id]
    assert openai_client.chat.completions.update(made.id, metadata=None).metadata == {}


def test_a_deleted_completion_is_gone_with_all_its_jobs(openai_client, served, run):
    made = complete(openai_client, n=2, metadata={"run": run, "what": "gone"})
    deleted = openai_client.chat.completions.delete(made.id)
    assert (deleted.object, deleted.deleted) == ("chat.completion.deleted", True)
    with redis_py.Redis.from_url(served.url) as client:
        for choice in made.choices:
            job_id = choice.forebay["job_id"]
            assert not client.exists(f"fb:job:{job_id}", f"fb:asked:{job_id}")
    for ask in ("retrieve", "delete"):
        with pytest.raises(openai.NotFoundError) as caught:
            getattr(openai_client.chat.completions, ask)(made.id)
        assert caught.value.param == "completion_id"
    assert not openai_client.chat.completions.list(metadata={"run": run, "what": "gone"}).data


def test_a_stream_is_stored_once_it_has_ended(openai_client, run):
    chunks = list(complete(openai_client, stream=True, metadata={"run": run}))
    found = until(lambda: openai_client.chat.completions.retrieve(chunks[0].id))
    assert found.choices[0].message.content == "ada: Hello there."


def test_what_is_not_stored_cannot_be_retrieved(openai_client):
    for options in ({}, {"extra_body": {"store": False}}):
        made = openai_client.chat.completions.create(model="auto", messages=HELLO, **options)
        with pytest.raises(openai.NotFoundError):
            openai_client.chat.completions.retrieve(made.id)
    response = openai_client.responses.create(model="auto", input="Hello there.")
    with pytest.raises(openai.NotFoundError):
        openai_client.chat.completions.retrieve(response.id.replace("resp_", "chatcmpl-"))


def test_a_stored_answer_from_the_cache_is_a_completion_of_its_own(openai_client, run):
    cached = {"extra_body": {"forebay": {"cache": True}}}
    say = [{"role": "user", "content": f"Say {run} once."}]
    first, second = (complete(openai_client, say, metadata={"at": at}, **cached) for at in "12")
    assert first.id != second.id
    openai_client.chat.completions.delete(first.id)
    assert openai_client.chat.completions.retrieve(second.id).metadata == {"at": "2"}


def test_a_response_that_is_not_stored_erases_no_earlier_one(openai_client, run):
    options = {"model": "auto", "input": f"Say {run} twice."}
    cached = {"extra_body": {"forebay": {"cache": True}}}
    first = openai_client.responses.create(**options, **cached, metadata={"at": "1"})
    for at in range(3):
        again = openai_client.responses.create(**options, **cached, store=False)
        assert again.output_text == first.output_text
        assert openai_client.responses.retrieve(first.id).metadata == {"at": "1"}, at


def test_another_tenant_sees_no_stored_completion(openai_client, keys, served):
    made = complete(openai_client, metadata={"whose": "acme"})
    other = keys.create("rival", scopes=("submit", "read", "admin"))[1]
    with openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=other, max_retries=0) as client:
        theirs = client.chat.completions
        assert theirs.list(metadata={"whose": "acme"}).data == []
        for ask in (theirs.retrieve, theirs.delete, theirs.messages.list):
            with pytest.raises(openai.NotFoundError):
                ask(made.id)
        with pytest.raises(openai.NotFoundError):
            theirs.update(made.id, metadata={})
    assert openai_client.chat.completions.retrieve(made.id).id == made.id


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"), ("limit=101", "limit"), ("order=up", "order"),
        ("after=chatcmpl-0", "after"), ("metadata=x", "metadata"), ("metadata[]=x", "metadata"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_query_is_one_error_that_names_the_parameter(openai_client, query, param):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.get(f"/chat/completions?{query}", cast_to=object)
    assert caught.value.param == param


def test_metadata_that_are_missing_or_too_long_change_nothing(openai_client):
    made = complete(openai_client, metadata={"kept": "1"})
    for body in ({}, {"metadata": {"k": "x" * 513}}, {"metadata": {"k": 1}}):
        with pytest.raises(openai.BadRequestError) as caught:
            openai_client.post(f"/chat/completions/{made.id}", body=body, cast_to=object)
        assert caught.value.param.startswith("metadata")
    assert openai_client.chat.completions.retrieve(made.id).metadata == {"kept": "1"}

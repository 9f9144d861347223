"""Files and batches, asked by OpenAI's own client."""

from __future__ import annotations

import json

import openai
import pytest

from patience import until

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
ENDED = {"completed", "failed", "expired", "cancelled"}


def chat(text, **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def lines(bodies, url=CHAT):
    return [
        {"custom_id": f"c{number}", "method": "POST", "url": url, "body": body}
        for number, body in enumerate(bodies)
    ]


def uploaded(client, given):
    data = (
        given
        if isinstance(given, bytes)
        else b"".join(json.dumps(line).encode() + b"\n" for line in given)
    )
    return client.files.create(file=("requests.jsonl", data), purpose="batch")


def created(client, given, endpoint=CHAT, **options):
    options = {"completion_window": "24h"} | options
    return client.batches.create(
        input_file_id=uploaded(client, given).id, endpoint=endpoint, **options
    )


def ended(client, batch):
    def look():
        current = client.batches.retrieve(batch.id)
        return current if current.status in ENDED else None

    return until(look, within_s=60)


def content(client, file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def test_a_batch_of_chats_is_answered_line_by_line(openai_client):
    texts = [f"Hello number {number}." for number in range(120)]
    batch = created(openai_client, lines([chat(text) for text in texts]), metadata={"a": "b"})
    assert (batch.status, batch.metadata) == ("validating", {"a": "b"})
    batch = ended(openai_client, batch)
    assert batch.status == "completed", batch
    assert (batch.request_counts.total, batch.request_counts.completed) == (120, 120)
    assert batch.error_file_id is None
    assert batch.usage.output_tokens > 0
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    found = content(openai_client, batch.output_file_id)
    assert [line["custom_id"] for line in found] == [f"c{number}" for number in range(120)]
    for text, line in zip(texts, found, strict=True):
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        body = line["response"]["body"]
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"] == text
        assert body["forebay"]["lane"] == "local"
    assert openai_client.files.retrieve(batch.output_file_id).purpose == "batch_output"


def test_requests_that_no_job_can_be_made_of_go_to_the_error_file(openai_client):
    bodies = [
        chat("Good."), chat("Bad.", temperature=9), {"model": "auto"},
        chat("No.", model="gpt-nine"), chat("No.", stream=True),
        chat("No.", forebay={"deadline": "2h"}), chat("No.", store=True),
    ]  # fmt: skip
    batch = ended(openai_client, created(openai_client, lines(bodies)))
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 7, 1, 6)
    (good,) = content(openai_client, batch.output_file_id)
    assert good["custom_id"] == "c0"
    bad = content(openai_client, batch.error_file_id)
    found = {line["custom_id"]: line["response"] for line in bad}
    assert {name: each["status_code"] for name, each in found.items()} == {
        "c1": 400, "c2": 400, "c3": 404, "c4": 400, "c5": 400, "c6": 400,
    }  # fmt: skip
    errors = {name: each["body"]["error"] for name, each in found.items()}
    assert {name: error["param"] for name, error in errors.items()} == {
        "c1": "temperature", "c2": "messages", "c3": "model", "c4": "stream",
        "c5": "forebay.deadline", "c6": "store",
    }  # fmt: skip


def test_several_choices_a_failure_and_other_kinds_are_as_live(openai_client):
    label = chat("I cannot log in", model="forebay/classify", forebay={"labels": ["login", "bill"]})
    bodies = [chat("Both.", n=2, seed=1), chat("[[echo: nonsense]] x"), label]
    batch = ended(openai_client, created(openai_client, lines(bodies)))
    found = {line["custom_id"]: line for line in content(openai_client, batch.output_file_id)}
    choices = found["c0"]["response"]["body"]["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [
        (0, "Both."), (1, "Both."),
    ]  # fmt: skip
    (choice,) = found["c2"]["response"]["body"]["choices"]
    assert choice["message"]["content"] in {"login", "bill"}
    (line,) = content(openai_client, batch.error_file_id)
    assert (line["custom_id"], line["response"]["status_code"]) == ("c1", 400)
    assert line["response"]["body"]["error"]["code"] == "invalid_job"


TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {}}}


def test_a_request_with_tools_is_answered_by_a_call_as_live(openai_client):
    tools = {"tools": [{"type": "function", "function": TOOL}]}
    bodies = [chat("Oslo?", **tools, tool_choice="required"), chat("Oslo?", **tools)]
    batch = ended(openai_client, created(openai_client, lines(bodies)))
    called, said = (
        line["response"]["body"]["choices"][0]
        for line in content(openai_client, batch.output_file_id)
    )
    assert called["finish_reason"] == "tool_calls"
    assert called["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert said["finish_reason"] == "stop"
    assert '"answer"' not in said["message"]["content"]
    body = {"model": "auto", "input": "Oslo?", "tools": [{"type": "function", **TOOL}]}
    bodies = [{**body, "tool_choice": "required", "temperature": 0.5, "metadata": {"a": "b"}}]
    given = lines(bodies, "/v1/responses")
    batch = ended(openai_client, created(openai_client, given, "/v1/responses"))
    (line,) = content(openai_client, batch.output_file_id)
    response = line["response"]["body"]
    assert (response["output"][0]["type"], response["output"][0]["name"]) == (
        "function_call", "weather",
    )  # fmt: skip
    assert (response["temperature"], response["metadata"]) == (0.5, {"a": "b"})
    assert (response["tools"][0]["name"], response["store"]) == ("weather", False)


@pytest.mark.parametrize(
    ("endpoint", "body", "shown"),
    [
        ("/v1/responses", {"model": "auto", "input": "Hello there."}, "output"),
        ("/v1/embeddings", {"model": "auto", "input": ["one", "two"]}, "data"),
    ],
)
def test_responses_and_embeddings_have_their_own_form(openai_client, endpoint, body, shown):
    given = lines([body, {**body, "model": "forebay/summarize"}], endpoint)
    batch = ended(openai_client, created(openai_client, given, endpoint))
    found = content(openai_client, batch.output_file_id)
    response = found[0]["response"]["body"]
    if endpoint == "/v1/embeddings":
        assert [len(item["embedding"]) > 10 for item in response[shown]] == [True, True]
        (refused,) = content(openai_client, batch.error_file_id)
        assert refused["response"]["body"]["error"]["param"] == "model"
    else:
        assert response[shown][0]["content"][0]["text"] == "Hello there."
        assert response["status"] == "completed"


@pytest.mark.parametrize(
    ("given", "code", "line", "param"),
    [
        (b'{"custom_id": "a"', "invalid_json_line", 1, None),
        (lines([chat("a")], "/v1/responses"), "invalid_url", 1, "url"),
        (lines([chat("a")]) * 2, "duplicate_custom_id", 2, "custom_id"),
        ([{"method": "POST", "url": CHAT, "body": chat("a")}], "invalid_custom_id", 1, "custom_id"),
        ([*lines([chat("a")]), {"custom_id": "b", "url": CHAT, "body": 7}], "invalid_body", 2,
         "body"),
        ([lines([chat("a")])[0] | {"method": "GET"}], "invalid_method", 1, "method"),
        ([lines([chat("a")])[0] | {"priority": 1}], "unknown_field", 1, "priority"),
        (b"\n\n", "invalid_file", 1, None),
    ],
)  # fmt: skip
def test_an_input_that_is_no_batch_fails_whole_and_says_where(
    openai_client, given, code, line, param
):
    batch = ended(openai_client, created(openai_client, given))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    error = batch.errors.data[0]
    assert (error.code, error.line, error.param) == (code, line, param)
    assert error.message


def test_a_batch_that_is_cancelled_keeps_the_answers_so_far(openai_client):
    quick = [chat(f"Quick {number}.") for number in range(60)]
    slow = [chat("[[echo: delay=0.2]] " + "word " * 100) for _ in range(60)]
    batch = created(openai_client, lines([*quick, *slow]))

    def some():
        current = openai_client.batches.retrieve(batch.id)
        return current.request_counts.completed >= 50

    until(some, within_s=40)
    assert openai_client.batches.cancel(batch.id).status == "cancelling"
    done = ended(openai_client, batch)
    counts = done.request_counts
    assert (done.status, counts.total) == ("cancelled", 120)
    assert counts.completed + counts.failed == 120
    assert counts.completed >= 50
    assert len(content(openai_client, done.output_file_id)) == counts.completed
    rest = content(openai_client, done.error_file_id)
    assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
    assert openai_client.batches.cancel(batch.id).status == "cancelled"


def test_a_batch_whose_window_ends_has_the_answers_so_far(openai_client):
    quick = [chat(f"Quick {number}.") for number in range(20)]
    slow = [chat("[[echo: delay=0.4]] " + "word " * 200) for _ in range(20)]
    batch = created(openai_client, lines([*quick, *slow]), completion_window="3s")
    done = ended(openai_client, batch)
    assert done.status == "expired"
    assert done.request_counts.failed >= 20
    rest = content(openai_client, done.error_file_id)
    assert {line["error"]["code"] for line in rest} == {"batch_expired"}


def test_batches_are_listed_page_by_page(openai_client):
    made = [created(openai_client, lines([chat("Hello.")])).id for _ in range(3)]
    pages = openai_client.batches.list(limit=1)
    listed = [batch.id for batch, _ in zip(pages, range(3), strict=False)]
    assert listed == made[::-1]
    with pytest.raises(openai.BadRequestError, match="after"):
        openai_client.batches.list(after="batch_none")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"completion_window": "soon"}, "completion_window"),
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"extra_body": {"forebay": {"egres": "allow"}}}, "egres"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_with_its_field(openai_client, options, field):
    with pytest.raises(openai.BadRequestError, match=field):
        created(openai_client, lines([chat("Hello.")]), **options)


def test_another_tenants_batches_and_files_do_not_exist(openai_client, served, keys):
    batch = created(openai_client, lines([chat("Hello.")]))
    other = keys.create("other", scopes=("submit", "read", "admin"))[1]
    with openai.OpenAI(base_url=f"{served.gateway_url}/v1", api_key=other, max_retries=0) as client:
        for call in (
            lambda: client.batches.retrieve(batch.id),
            lambda: client.batches.cancel(batch.id),
            lambda: client.files.content(batch.input_file_id),
            lambda: client.files.delete(batch.input_file_id),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
        assert client.batches.list().data == []
        assert client.files.list().data == []

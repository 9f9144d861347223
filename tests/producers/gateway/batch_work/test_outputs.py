"""The outputs of a batch say of each request how it ended, also if its result is missing."""

from __future__ import annotations

import json

import pytest

from forebay.producers.gateway.batch_endpoints.anthropic_lines import MessageLines
from forebay.producers.gateway.batch_endpoints.openai_lines import ChatLines
from forebay.producers.gateway.batch_work.outputs import ERRORS, OUTPUT, RESULTS, write_outputs
from forebay.producers.gateway.batch_work.validation import LINES

NAMES = ("one", "two", "three")


def result(number, **changes):
    how = {
        "key": f"{number}.0", "status": "done", "lane": "local", "model": "echo", "revision": "1",
        "degraded": False, "checks": [], "reasons": [], "tokens_in": 1, "tokens_out": 1,
        "cost_usd": 0.0, "answer": {"text": NAMES[number - 1]}, "error": None, "error_note": None,
    }  # fmt: skip
    return json.dumps({**how, **changes}) + "\n"


@pytest.fixture
def written(tmp_path):
    """Return a function that writes the outputs of three requests with these results."""
    lines = [{"id": name, "jobs": 1, "kind": "generate", "told": {}} for name in NAMES]
    (tmp_path / LINES).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def write(results, form, **options):
        (tmp_path / RESULTS).write_text("".join(results))
        made = write_outputs(tmp_path, "acme.b1", form, lambda: None, **options)
        told = [(tmp_path / name).read_text().splitlines() for name in (OUTPUT, ERRORS)]
        return made.counts, [
            {line["custom_id"]: line for line in map(json.loads, of)} for of in told
        ]

    return write


@pytest.mark.parametrize("spoiled", ["", "{nonsense\n", result(2)[:40] + "\n"])
def test_a_result_that_is_missing_or_spoiled_was_lost_and_the_others_are_told(written, spoiled):
    results = [result(1), spoiled, result(3)]
    counts, (output, errors) = written(results, ChatLines())
    assert counts == {"completed": 2, "failed": 1}
    texts = {name: line["response"]["body"]["choices"][0] for name, line in output.items()}
    assert {name: choice["message"]["content"] for name, choice in texts.items()} == {
        "one": "one", "three": "three",
    }  # fmt: skip
    error = errors["two"]["response"]["body"]["error"]
    assert (errors["two"]["response"]["status_code"], error["code"]) == (503, "internal")
    assert "was lost; send the request again" in error["message"]
    _, (output, _) = written(results, MessageLines())
    assert [output[name]["result"]["type"] for name in NAMES] == [
        "succeeded", "errored", "succeeded",
    ]  # fmt: skip


def test_requests_without_a_result_were_cancelled_if_the_batch_was(written):
    counts, (output, errors) = written([result(1)], ChatLines(), without="cancelled")
    assert counts == {"completed": 1, "cancelled": 2}
    assert errors["three"]["error"]["code"] == "batch_cancelled"
    _, (output, _) = written([result(1)], MessageLines(), without="cancelled")
    assert output["two"]["result"] == {"type": "canceled"}


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"status": "failed", "error": "model_refused"}, "model_refused", 422),
        ({"status": "failed", "error": None}, "internal", 503),
    ],
)
def test_a_request_that_failed_has_the_error_of_its_job(written, changes, code, status):
    results = [result(1), result(2, answer=None, **changes), result(3)]
    _, (_, errors) = written(results, ChatLines())
    response = errors["two"]["response"]
    assert (response["body"]["error"]["code"], response["status_code"]) == (code, status)


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_a_request_that_nobody_answered_in_time_says_why(written, status):
    results = [result(1), result(2, answer=None, status=status), result(3)]
    counts, (_, errors) = written(results, ChatLines())
    assert counts[status] == 1
    assert errors["two"]["error"]["code"] == f"batch_{status}"

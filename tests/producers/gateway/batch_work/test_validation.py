"""The input of a batch is validated before any of its requests is answered."""

from __future__ import annotations

import json

import pytest

from forebay.producers.gateway.batch_endpoints.anthropic_lines import MessageLines
from forebay.producers.gateway.batch_endpoints.openai_lines import FORMATS, ChatLines
from forebay.producers.gateway.batch_work.line_format import Desk
from forebay.producers.gateway.batch_work.validation import INPUT, validate
from forebay.routing.base import KINDS
from forebay.routing.policy.policy_file import Policy


class FewLines(ChatLines):
    """The lines of chats, of which a batch holds few."""

    max_requests, max_bytes = 3, 2_000


@pytest.fixture
def found(tmp_path):
    """Return a function that validates some lines."""
    desk = Desk("acme", Policy(), {}, "deny", dict.fromkeys(KINDS, ()))

    def validated(lines):
        (tmp_path / INPUT).write_bytes(b"".join(lines))
        return validate(tmp_path, FewLines(), desk, lambda: None)

    return validated


def line(number, text="Hello."):
    body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
    given = {"custom_id": str(number), "url": ChatLines.endpoint, "body": body}
    return json.dumps(given).encode() + b"\n"


def test_a_batch_has_as_many_requests_as_the_format_allows(found):
    good = found([line(number) for number in range(3)])
    assert (good.total, good.errors) == (3, [])
    (error,) = found([line(number) for number in range(9)]).errors
    assert (error["code"], error["line"], error["param"]) == (
        "too_many_tasks", None, "input_file_id",
    )  # fmt: skip
    assert "at most 3 requests" in error["message"]


def test_an_input_is_as_large_as_the_format_allows(found):
    (error,) = found([line(0, "x" * 2_000)]).errors
    assert (error["code"], error["param"]) == ("file_too_large", "input_file_id")
    assert "at most 2000 bytes" in error["message"]


def test_the_limits_are_those_of_the_wire_formats():
    assert {(form.max_requests, form.max_bytes >> 20) for form in FORMATS} == {(50_000, 200)}
    assert (MessageLines.max_requests, MessageLines.max_bytes >> 20) == (100_000, 256)

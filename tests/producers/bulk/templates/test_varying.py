"""The quick check of what varies agrees with the check of the whole request, for every kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.producers.bulk.templates.varying import check_of, varying_field
from forebay.routing.base import MAX_TEXT
from forebay.routing.errors import InvalidJob
from forebay.routing.requests import parse_request
from policy_cases import REQUESTS

SHARED = {
    kind: {name: value for name, value in fields.items() if name != varying_field(kind)}
    for kind, fields in REQUESTS.items()
    if varying_field(kind)
}
SHARED["generate"] |= {"schema": {"type": "object"}, "max_tokens": 5}
TEXTS = (
    st.text(max_size=5)
    | st.sampled_from(["", " ", "\0", "\ud800", "x" * MAX_TEXT, "x" * (MAX_TEXT + 1), "é" * 40_000])
    | st.none() | st.integers() | st.booleans() | st.binary(max_size=3) | st.floats()
)  # fmt: skip
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"content": TEXTS}, optional={"role": st.sampled_from(["system", "user", "tool", 7])}
    )
    | TEXTS,
    max_size=3,
)
CONTENTS = TEXTS | st.lists(TEXTS, max_size=3) | MESSAGES | st.dictionaries(st.text(), TEXTS)


def outcome(call):
    """Return what a call returns, or its error as text."""
    try:
        return call()
    except InvalidJob as error:
        return f"error: {error}"


@pytest.mark.parametrize("kind", SHARED)
@given(content=CONTENTS)
def test_the_quick_check_agrees_with_the_contract(kind, content):
    common = SHARED[kind]
    name = varying_field(kind)
    whole = outcome(lambda: parse_request({**common, name: content}))
    checked = outcome(lambda: check_of(kind, common)(content))
    if isinstance(whole, str):
        assert checked == whole
    else:
        assert parse_request({**common, name: checked}) == whole

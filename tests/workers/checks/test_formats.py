"""Formats of JSON Schema are checked wherever the schema asks for them, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.checks.formats import misformatted

GOOD = {
    "byte": ["", "YQ==", "YWI=", "YWJj"],
    "int32": [2**31 - 1, -(2**31), 0, 1.5, "text"],
    "int64": [2**63 - 1, -(2**63)],
    "date-time": ["2025-03-01T14:30:00Z", "2025-03-01t14:30:00.5+01:00", "1998-12-31T23:59:60Z"],
    "time": ["14:30:00Z", "23:59:59.123-08:00", "15:59:60-08:00"],
    "duration": ["P1D", "PT1H30M", "P4W", "P1Y2M3DT4H5M6S", "PT1.5S"],
    "email": ["ada@example.org", "a.b+c@x-y.example", '"a b"@example.org', "a@[127.0.0.1]"],
    "idn-email": ["jürgen@müller.example"],
    "hostname": ["example.org", "localhost", "a-1.example", "xn--nxasmq6b.example"],
    "idn-hostname": ["müller.example", "例え.example"],
    "uri": [
        "https://example.org/a?b=c#d",
        "mailto:ada@example.org",
        "urn:isbn:1",
        "http://[::1]:8/",
    ],
    "uri-reference": ["/a/b?c", "#top", "../x", "https://example.org"],
    "iri": ["https://müller.example/straße"],
    "iri-reference": ["/straße"],
    "uri-template": ["https://example.org/{id}{?a,b*}", "/a"],
    "json-pointer": ["", "/a~1b/0", "/"],
    "relative-json-pointer": ["0", "1/a", "2#"],
}
BAD = {
    "byte": ["YQ", "Y*==", "YQ==YQ=="],
    "int32": [2**31, -(2**31) - 1],
    "int64": [2**63, -(2**63) - 1],
    "date-time": ["yesterday", "2025-03-01", "2025-02-30T14:30:00Z", "2025-03-01 14:30:00Z",
                  "2025-03-01T25:00:00Z", "2025-03-01T14:30:00", "2025-03-01T14:30:60Z",
                  "2025-03-01T14:30:00+25:00", "٢٠٢٥-03-01T14:30:00Z", "2025-03-01T14:30:00Z\n"],
    "time": ["2:30 pm", "14:30", "24:00:00Z", "14:30:00"],
    "duration": ["1 day", "P", "PT", "P1DT", "P1M2Y", "P1S"],
    "email": ["ada", "@", "a@", "@b", "a b@example.org", "a@b@c", ".a@example.org", "a@-b.example"],
    "idn-email": ["jürgen", "@müller.example"],
    "hostname": ["", "-a.example", "a..b", "a_b", "a" * 64, "example.org."],
    "idn-hostname": ["a b", "-ü.example", "ü" * 64],
    "uri": ["example.org", "//example.org", "https://a b", "http://[::1", "https://a/%zz", "a#b#c",
            "http://a:port/"],
    "uri-reference": ["a b", "\\\\share", "#a#b"],
    "iri": ["straße", "https://a b"],
    "iri-reference": ["\\\\straße"],
    "uri-template": ["/a{", "/{a b}", "/}"],
    "json-pointer": ["a", "/a~", "/a~2"],
    "relative-json-pointer": ["", "/a", "01", "-1/a", "0##"],
}  # fmt: skip


def cases(texts):
    return [(name, text) for name, each in texts.items() for text in each]


@pytest.mark.parametrize(("name", "text"), cases(GOOD))
def test_a_text_of_the_format_passes(name, text):
    assert misformatted({"format": name}, text) is None


@pytest.mark.parametrize(("name", "text"), cases(BAD))
def test_another_text_is_named_by_its_format(name, text):
    assert misformatted({"format": name}, text) == name


WHEN = {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": WHEN}},
        {"additionalProperties": WHEN},
        {"properties": {"a": {"$ref": "#/$defs/when"}}, "$defs": {"when": WHEN}},
        {"properties": {"a": {"anyOf": [WHEN, {"type": "null"}]}}},
        {"properties": {"a": {"oneOf": [{"type": "integer"}, WHEN]}}},
        {"allOf": [{"properties": {"a": {"allOf": [WHEN]}}}]},
        {"properties": {"a": {"type": ["string", "null"], "format": "date-time"}}},
    ],
)
def test_a_format_counts_wherever_the_schema_asks_for_it(schema):
    assert misformatted(schema, {"a": "yesterday"}) == "date-time"
    assert misformatted(schema, {"a": "2025-03-01T14:30:00Z"}) is None
    assert misformatted(schema, {"a": 5}) is None


def test_the_items_of_lists_are_checked():
    assert misformatted({"items": WHEN}, ["2025-03-01T14:30:00Z", "soon"]) == "date-time"
    schema = {"prefixItems": [{"type": "string"}, WHEN]}
    assert misformatted(schema, ["soon", "soon"]) == "date-time"
    assert misformatted(schema, ["soon"]) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"b": WHEN}},
        {"properties": {"a": {"anyOf": [WHEN, {"type": "string"}]}}},
        {"properties": {"a": {"format": "colour"}}},
        {"properties": {"a": True}, "additionalProperties": False},
        {"properties": {"a": {"enum": ["date-time"]}, "format": WHEN}},
        {"not": {"properties": {"a": WHEN}}},
    ],
)
def test_a_format_that_the_data_need_not_have_says_nothing(schema):
    assert misformatted(schema, {"a": "yesterday"}) is None


@pytest.mark.timeout(30)
def test_references_without_end_are_given_up():
    branches = {"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "items": {"$ref": "#"}}
    assert misformatted({"$ref": "#"}, "a") is None
    assert misformatted(branches, [[[[[[[["a"]]]]]]]]) is None


@given(st.sampled_from(sorted(GOOD)), st.text())
def test_any_text_is_checked_without_an_error(name, text):
    assert misformatted({"format": name}, text) in (None, name)

"""Walks over JSON documents: every node once, at any depth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.checks.json_tree import leaves, leaves_by_path, nodes

DOCUMENT = {"a": [1, {"b": None}], "c": {}, "d": []}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4)
    ),
    max_leaves=20,
)


def test_every_part_of_a_document_is_a_node():
    found = list(nodes(DOCUMENT))
    assert len(found) == 7
    for part in (DOCUMENT, DOCUMENT["a"], 1, {"b": None}, None, {}, []):
        assert part in found


def test_leaves_are_the_values_that_hold_no_others():
    assert sorted(leaves({"a": [1, {"b": 2}], "c": {}})) == [1, 2]
    assert list(leaves("text")) == ["text"]


def test_leaves_have_the_path_that_leads_to_them():
    assert leaves_by_path(DOCUMENT, max_depth=9) == {
        ("a", 0): 1,
        ("a", 1, "b"): None,
        ("c",): {},
        ("d",): [],
    }


@pytest.mark.parametrize(
    ("max_depth", "expected"),
    [
        (0, {(): {"a": {"b": [1]}}}),
        (1, {("a",): {"b": [1]}}),
        (3, {("a", "b", 0): 1}),
    ],
)
def test_a_part_below_the_maximum_depth_is_a_leaf(max_depth, expected):
    assert leaves_by_path({"a": {"b": [1]}}, max_depth=max_depth) == expected


def test_no_depth_is_too_much():
    deep = "end"
    for _ in range(50_000):
        deep = [deep]
    assert list(leaves(deep)) == ["end"]
    assert len(leaves_by_path(deep, max_depth=100)) == 1


@given(ANY_JSON)
def test_a_document_has_as_many_leaves_as_paths_to_values(document):
    values = [
        leaf for leaf in leaves_by_path(document, max_depth=99).values() if leaf not in ({}, [])
    ]
    assert len(values) == len(list(leaves(document)))

"""Walking a JSON document: order, paths, depth, and nesting too deep for recursion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.json_tree import is_deeper_than, leaves, leaves_by_path, nodes, texts

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4)
    ),
    max_leaves=20,
)
DOCUMENT = {"a": [1, {"b": None}, []], "c": {"d": "two"}}
DEEP_LEVELS = 50_000


def at(document, path):
    for step in path:
        document = document[step]
    return document


def depth(node):
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return 1 + max(map(depth, parts), default=0)


def test_nodes_come_in_document_order_with_the_document_first():
    assert list(nodes(DOCUMENT)) == [
        DOCUMENT, DOCUMENT["a"], 1, {"b": None}, None, [], {"d": "two"}, "two",
    ]  # fmt: skip


def test_leaves_are_the_values_that_hold_no_others():
    assert list(leaves(DOCUMENT)) == [1, None, "two"]
    assert list(leaves("text")) == ["text"]


def test_texts_are_names_and_values_each_name_before_its_value():
    assert list(texts(DOCUMENT)) == ["a", "1", "b", "c", "d", "two"]
    assert list(texts((1, ["x"]))) == ["1", "x"]


def test_leaves_have_the_path_that_leads_to_them_and_empty_parts_are_leaves():
    assert leaves_by_path(DOCUMENT, max_depth=9) == {
        ("a", 0): 1,
        ("a", 1, "b"): None,
        ("a", 2): [],
        ("c", "d"): "two",
    }


@pytest.mark.parametrize(
    ("max_depth", "expected"),
    [
        (0, {(): {"a": {"b": [1]}}}),
        (1, {("a",): {"b": [1]}}),
        (3, {("a", "b", 0): 1}),
    ],
)
def test_a_part_at_the_maximum_depth_is_a_leaf(max_depth, expected):
    assert leaves_by_path({"a": {"b": [1]}}, max_depth=max_depth) == expected


@given(ANY_JSON, st.integers(0, 6))
def test_every_path_leads_to_its_leaf(document, max_depth):
    for path, leaf in leaves_by_path(document, max_depth=max_depth).items():
        assert at(document, path) == leaf
        assert len(path) <= max_depth


@given(ANY_JSON)
def test_a_document_has_as_many_leaves_as_paths_to_values(document):
    values = [
        leaf for leaf in leaves_by_path(document, max_depth=99).values() if leaf not in ({}, [])
    ]
    assert len(values) == len(list(leaves(document)))


@given(ANY_JSON, st.integers(0, 8))
def test_depth_is_counted_in_levels(document, levels):
    assert is_deeper_than(document, levels) == (depth(document) > levels)


@pytest.mark.parametrize("wrap", [lambda node: [node], lambda node: {"a": node}])
def test_no_depth_exhausts_the_stack(wrap):
    document = "end"
    for _ in range(DEEP_LEVELS):
        document = wrap(document)
    assert sum(1 for _ in nodes(document)) == DEEP_LEVELS + 1
    assert list(leaves(document)) == ["end"]
    assert list(texts(document))[-1] == "end"
    assert len(leaves_by_path(document, max_depth=100)) == 1
    assert is_deeper_than(document, DEEP_LEVELS)
    assert not is_deeper_than(document, DEEP_LEVELS + 1)

"""Walking a JSON document: order, paths, depth, and nesting too deep for recursion."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing import json_tree

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)
DOCUMENT = {"a": [1, {"b": None}, []], "c": {"d": "two"}}


def at(root, path):
    for part in path:
        root = root[part]
    return root


def depth(node):
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return 1 + max(map(depth, children), default=0)


def test_nodes_come_in_document_order_with_the_root_first():
    assert list(json_tree.nodes(DOCUMENT)) == [
        DOCUMENT, DOCUMENT["a"], 1, {"b": None}, None, [], {"d": "two"}, "two",
    ]  # fmt: skip


def test_keys_are_those_of_every_object():
    assert list(json_tree.keys(DOCUMENT)) == ["a", "c", "b", "d"]


def test_texts_are_keys_and_values_each_key_before_its_value():
    assert list(json_tree.texts(DOCUMENT)) == ["a", "1", "b", "c", "d", "two"]
    assert list(json_tree.texts((1, ["x"]))) == ["1", "x"]


def test_leaves_come_with_their_path_and_what_is_empty_is_a_leaf():
    assert list(json_tree.leaves(DOCUMENT, 9)) == [
        (("a", 0), 1), (("a", 1, "b"), None), (("a", 2), []), (("c", "d"), "two"),
    ]  # fmt: skip


def test_below_the_greatest_depth_a_node_is_a_leaf_as_a_whole():
    assert list(json_tree.leaves(DOCUMENT, 1)) == [(("a",), DOCUMENT["a"]), (("c",), {"d": "two"})]
    assert list(json_tree.leaves(DOCUMENT, 0)) == [((), DOCUMENT)]


@given(documents, st.integers(0, 6))
def test_every_path_leads_to_its_leaf(document, max_depth):
    for path, leaf in json_tree.leaves(document, max_depth):
        assert at(document, path) == leaf
        assert len(path) <= max_depth


@given(documents, st.integers(0, 8))
def test_depth_is_counted_in_levels(document, levels):
    assert json_tree.is_deeper_than(document, levels) == (depth(document) > levels)


@pytest.mark.parametrize("wrap", [lambda node: [node], lambda node: {"a": node}])
def test_no_depth_exhausts_the_stack(wrap):
    document = "x"
    for _ in range(levels := 3 * sys.getrecursionlimit()):
        document = wrap(document)
    assert sum(1 for _ in json_tree.nodes(document)) == levels + 1
    assert list(json_tree.texts(document))[-1] == "x"
    assert next(iter(json_tree.leaves(document, 5)))[0] in {(0,) * 5, ("a",) * 5}
    assert json_tree.is_deeper_than(document, levels)
    assert not json_tree.is_deeper_than(document, levels + 1)

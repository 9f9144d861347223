"""Embeddings and models, asked by OpenAI's own client."""

from __future__ import annotations

import math

import openai
import pytest

pytestmark = pytest.mark.slow


def test_texts_become_vectors_in_their_order(openai_client):
    made = openai_client.embeddings.create(model="auto", input=["first", "second", "first"])
    vectors = [one.embedding for one in made.data]
    assert [one.index for one in made.data] == [0, 1, 2]
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.isclose(sum(number**2 for number in vectors[0]), 1, rel_tol=1e-5)
    assert made.usage.prompt_tokens == 3
    assert made.forebay["kind"] == "embed"


def test_both_encodings_give_the_same_numbers(openai_client):
    def create(encoding):
        made = openai_client.embeddings.create(
            model="forebay/embed", input="one text", encoding_format=encoding
        )
        return made.data[0].embedding

    plain, packed = create("float"), create(openai.NOT_GIVEN)  # the client asks for base64 itself
    assert plain == pytest.approx(packed)


@pytest.mark.parametrize(
    ("options", "param", "code"),
    [
        ({"input": [[1, 2]]}, "input", "not_supported"),
        ({"input": []}, "input", "not_supported"),
        ({"input": [""]}, "input.0", "invalid_job"),
        ({"dimensions": 8}, "dimensions", "not_supported"),
        ({"model": "forebay/classify"}, "model", "invalid_request"),
        ({"model": "bedrock", "extra_headers": {"forebay-egress": "allow"}}, "lane", "invalid_job"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_error_that_names_the_field(openai_client, options, param, code):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.embeddings.create(**({"model": "auto", "input": "x"} | options))
    assert (caught.value.param, caught.value.code) == (param, code)


def test_the_models_are_the_lanes_the_kinds_and_the_aliases(openai_client):
    names = [model.id for model in openai_client.models.list()]
    assert names[:3] == ["auto", "local", "bedrock"]
    assert {"forebay/classify", "forebay/embed", "gpt-5-mini"} <= set(names)
    assert openai_client.models.retrieve("forebay/extract").id == "forebay/extract"
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("gpt-9")

"""Near relatives: models of one family and about one size, by their names."""

import pytest

from forebay.routing.scoring.relatives import near_relatives


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Mistral-7B-v0.1", "mistral-7b-instruct-v0.2"),
        ("Meta-Llama-3-8B", "Meta-Llama-3_1-8B-Instruct"),
        ("qwen2.5-7b-instruct-q4_k_m", "Qwen/Qwen2.5-7B-Instruct-exl2-4.0bpw"),
        ("DeepSeek-R1-Distill-Qwen-7B", "Qwen2.5-7B-Instruct"),
        ("SmolLM2-135M-Instruct-Q8_0", "SmolLM2-135M-Instruct-Q4_K_M"),
        ("Mixtral-8x7B-v0.1", "Mixtral-8x7B-Instruct-v0.1"),
        ("Qwen2.5-1.5B", "Qwen2-1_7B"),
    ],
)
def test_one_family_and_one_size_are_near_relatives(one, other):
    assert near_relatives(one, other)
    assert near_relatives(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Llama-2-7b-hf", "Llama-2-70b-hf"),
        ("Meta-Llama-3.1-8B-Instruct", "gemma-2-9b-it"),
        ("Qwen2.5-7B-Instruct", "Meta-Llama-3.1-8B-Instruct"),
        ("mathstral-7B", "gemma-7b"),
        ("Phi-3-mini-4k-instruct", "Phi-3-medium-4k-instruct"),
        ("Mistral-7B-v0.1", "Mixtral-8x7B-v0.1"),
        ("echo", "other"),
        ("", ""),
    ],
)
def test_other_models_are_not(one, other):
    assert not near_relatives(one, other)

"""What follows a prompt is cut into tokens as if it were cut with the whole of it."""

from __future__ import annotations

import importlib.util
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers import Tokenizer as TheirTokenizer

from forebay.workers.engines.llamacpp.gguf import packaged_gguf
from forebay.workers.engines.tokens.prompt_tails import Tails
from forebay.workers.engines.tokens.tokenizer import Tokenizer
from ggufhead import Head
from local.fleet import ROOT
from tinymodel import TEXT, write_folder

#: Two that overlap, one within another, and one that begins another.
NASTY = ["<|im_start|>", "<|im_end|>", "<|a|>", "|><|b|>", "<s>", "x<s>y", "<|a|><|b", "\n\n"]
WORDS = [*NASTY, *"<|>s ab\n\t\u00e9\u4e2d", "  ", "refund", " pay", "back", "1234", "e\u0301"]


def smollm2():
    """The packaged model's own."""
    spec = importlib.util.spec_from_file_location("words", ROOT / "tests/gpu/words.py")
    words = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(words)
    return words.tokenizer_of(Head(packaged_gguf()))


def trained(model, trainer, **parts):
    tokenizer = TheirTokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    return tokenizer


def bytes_and_merges():
    """As GPT-2, with special tokens of every kind: some found in the changed text, some greedy."""
    made = trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=420, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
    )  # fmt: skip
    made.add_special_tokens([AddedToken(one, normalized=False) for one in NASTY])
    return made


def merges_without_words():
    """As Llama 2: spaces are made visible, one goes before all, and merges cross words."""
    made = trained(
        models.BPE(byte_fallback=True, unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False),
        normalizer=normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        ),
    )  # fmt: skip
    made.add_special_tokens([AddedToken(one, normalized=False) for one in ("<s>", "</s>")])
    made.add_special_tokens([AddedToken("<|im_end|>", normalized=True)])
    return made


def pieces_by_chance():
    """As T5: the likeliest pieces of the whole, and a space before the first alone.

    What becomes of a label tells so whether it was cut behind a special token or by itself.
    """
    made = trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        ),
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first"),
        decoder=decoders.Metaspace(prepend_scheme="first"),
    )
    made.add_special_tokens(
        [
            *(AddedToken(one, normalized=False) for one in ("<s>", "x<s>y", "|><|b|>")),
            AddedToken("<|a|>", normalized=False, rstrip=True),
            AddedToken("\n\n", normalized=False),
            AddedToken("<|im_end|>", normalized=False, single_word=True),
        ]
    )
    return made


def flagged():
    """As BERT: what stands around a special token decides whether it is one."""
    made = trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False),
        normalizer=normalizers.BertNormalizer(lowercase=True),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
    )
    made.add_special_tokens(
        [
            AddedToken("<s>", normalized=False, lstrip=True),
            AddedToken("<|a|>", normalized=False, rstrip=True),
            AddedToken("<|im_end|>", normalized=False, single_word=True),
            AddedToken("<|im_start|>", normalized=False),
            AddedToken("back", normalized=True),
        ]
    )
    return made


KINDS = {
    "tiny": None, "smollm2": smollm2, "bytes": bytes_and_merges, "llama2": merges_without_words,
    "t5": pieces_by_chance, "bert": flagged,
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def vocabulary(request, tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("model") / request.param)
    if KINDS[request.param] is not None:
        KINDS[request.param]().save(str(folder / "tokenizer.json"))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    return Tokenizer(folder)


def by_the_whole(vocabulary, prompt, text):
    """What is meant: prompt and text in one, without what the prompt alone is."""
    ids, whole = vocabulary.encode(prompt), vocabulary.encode(prompt + text)
    return whole[len(ids) :] if whole[: len(ids)] == ids else vocabulary.encode(text)


texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=8).map("".join)


@given(prompt=texts, text=texts)
@example(prompt="<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", text="refund")
@example(prompt="<|a|>", text="<|b|>")
@example(prompt="pay <s>", text="y back")
@example(prompt="ab<|im_end|>", text="back")
@example(prompt="x<s>", text="y back")
@example(prompt="x<s>y" + "back" * 127 + "bac", text="k")
@example(prompt="<|a|><|b|>", text="back")
@example(prompt="<|a|>" + "\n\n", text=" back")
@example(prompt="|><|b" + "|><|b|>", text="back")
@settings(max_examples=150)
def test_the_end_of_a_prompt_is_as_good_as_the_whole(vocabulary, prompt, text):
    assert vocabulary.continuations(prompt, [text, " a"]) == [
        by_the_whole(vocabulary, prompt, text), by_the_whole(vocabulary, prompt, " a"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["smollm2", "bytes", "bert"])
def test_of_a_chat_only_what_opens_the_answer_is_cut_again(kind):
    tails = Tails(KINDS[kind]())
    opening = "<|im_start|>assistant\n"
    assert tails.of("<|im_start|>user\n" + "word " * 500 + "<|im_end|>\n" + opening) == opening


def test_of_a_text_without_special_tokens_all_is_cut_again():
    tails = Tails(merges_without_words())
    assert tails.of("a text") == "a text"
    assert tails.of("a <|im_end|>text") == "a <|im_end|>text"  # found when spaces are visible


@pytest.mark.parametrize("held", ["<|a|><|b|>", "x<s>y"])
def test_a_token_that_another_may_swallow_is_no_border(held):
    """Also where the other one begins too far from the end to be seen."""
    tails = Tails(pieces_by_chance())
    assert all(tails.of(held + "z" * size) == held + "z" * size for size in range(520))

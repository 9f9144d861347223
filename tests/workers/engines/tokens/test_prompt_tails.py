"""A text after a prompt gets the same tokens as if the whole prompt were tokenized with it."""

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
from forebay.workers.engines.tokens.prompt_tails import PromptTails
from forebay.workers.engines.tokens.tokenizer import Tokenizer
from gguf_metadata import Metadata
from local.fleet import ROOT
from tinymodel import TEXT, write_folder

#: Special tokens that overlap, lie within another, or begin another.
NASTY = ["<|im_start|>", "<|im_end|>", "<|a|>", "|><|b|>", "<s>", "x<s>y", "<|a|><|b", "\n\n"]
WORDS = [*NASTY, *"<|>s ab\n\t\u00e9\u4e2d", "  ", "refund", " pay", "back", "1234", "e\u0301"]


def smollm2():
    """Return the tokenizer of the packaged model."""
    spec = importlib.util.spec_from_file_location("words", ROOT / "tests/gpu/models/words.py")
    words = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(words)
    return words.tokenizer_of(Metadata(packaged_gguf()))


def trained(model, trainer, **parts):
    tokenizer = TheirTokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    return tokenizer


def bytes_and_merges():
    """Return a tokenizer like GPT-2's, with special tokens that overlap."""
    tokenizer = trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=420, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
    )  # fmt: skip
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in NASTY])
    return tokenizer


def merges_without_words():
    """Return a tokenizer like that of Llama 2: spaces are characters, and merges cross words."""
    tokenizer = trained(
        models.BPE(byte_fallback=True, unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False),
        normalizer=normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        ),
    )  # fmt: skip
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in ("<s>", "</s>")])
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", normalized=True)])
    return tokenizer


def pieces_by_chance():
    """Return a tokenizer like T5's: the likeliest pieces, and a space before the first word alone.

    So the tokens of a label show whether the label was tokenized after a special token or alone.
    """
    tokenizer = trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        ),
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first"),
        decoder=decoders.Metaspace(prepend_scheme="first"),
    )
    tokenizer.add_special_tokens(
        [
            *(AddedToken(text, normalized=False) for text in ("<s>", "x<s>y", "|><|b|>")),
            AddedToken("<|a|>", normalized=False, rstrip=True),
            AddedToken("\n\n", normalized=False),
            AddedToken("<|im_end|>", normalized=False, single_word=True),
        ]
    )
    return tokenizer


def flagged():
    """Return a tokenizer like BERT's: some special tokens depend on the text around them."""
    tokenizer = trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False),
        normalizer=normalizers.BertNormalizer(lowercase=True),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
    )
    tokenizer.add_special_tokens(
        [
            AddedToken("<s>", normalized=False, lstrip=True),
            AddedToken("<|a|>", normalized=False, rstrip=True),
            AddedToken("<|im_end|>", normalized=False, single_word=True),
            AddedToken("<|im_start|>", normalized=False),
            AddedToken("back", normalized=True),
        ]
    )
    return tokenizer


KINDS = {
    "tiny": None, "smollm2": smollm2, "bytes": bytes_and_merges, "llama2": merges_without_words,
    "t5": pieces_by_chance, "bert": flagged,
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("model") / request.param)
    if KINDS[request.param] is not None:
        KINDS[request.param]().save(str(folder / "tokenizer.json"))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    return Tokenizer(folder)


def from_the_whole(tokenizer, prompt, text):
    """Return the text's ids after the prompt, with both tokenized as a whole."""
    ids, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + text)
    return whole[len(ids) :] if whole[: len(ids)] == ids else tokenizer.encode(text)


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
def test_the_tail_of_a_prompt_gives_the_same_tokens_as_the_whole(tokenizer, prompt, text):
    assert tokenizer.continuations(prompt, [text, " a"]) == [
        from_the_whole(tokenizer, prompt, text), from_the_whole(tokenizer, prompt, " a"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["smollm2", "bytes", "bert"])
def test_the_tail_of_a_chat_is_only_the_opening_of_the_answer(kind):
    tails = PromptTails(KINDS[kind]())
    opening = "<|im_start|>assistant\n"
    assert tails.of("<|im_start|>user\n" + "word " * 500 + "<|im_end|>\n" + opening) == opening


def test_the_tail_of_a_text_without_special_tokens_is_the_whole_text():
    tails = PromptTails(merges_without_words())
    assert tails.of("a text") == "a text"
    assert tails.of("a <|im_end|>text") == "a <|im_end|>text"  # a normalized token is no border


@pytest.mark.parametrize("tokens", ["<|a|><|b|>", "x<s>y"])
def test_a_token_that_another_token_may_overlap_is_no_border(tokens):
    """Even if the other token begins too far from the end to be searched."""
    tails = PromptTails(pieces_by_chance())
    assert all(tails.of(tokens + "z" * size) == tokens + "z" * size for size in range(520))

"""A model's folder with a real tokenizer, and logits by a rule instead of weights.

The rule answers in a few words. It goes on without an end if the prompt asks for a very long story,
and it prefers tokens that close a string or an object, so that JSON ends.
"""

from __future__ import annotations

import functools
import json
import zlib

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANSWER = "Well, the sea is wide and deep, and nobody knows all of it. \u00e9\U0001f30a"
TEXT = (
    f"system user assistant one two three Tell me about the sea. {ANSWER[:-2]} yes no red blue"
    " pay back refund Write a very long story about a river. and on and on Invoice number vendor"
    + " word" * 9 + " a" * 9
)  # fmt: skip
STORY = "very long story"


def write_folder(folder, **tokenizer_config):
    """Write all files of a model except its weights."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": CHATML, "eos_token": SPECIAL[2]} | tokenizer_config
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    return folder


class Rule:
    """Gives the logits of the next token of a sequence.

    Args:
        folder: the model's folder.
        padding: columns of logits beyond the vocabulary. They are the highest, so that an engine
            that does not ignore them fails.
    """

    ends = (0, 2)

    def __init__(self, folder, padding=37):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.size = self.tokenizer.get_vocab_size()
        self.width = self.size + padding
        self.pieces = [
            "" if at < len(SPECIAL) else self.tokenizer.decode([at]) for at in range(self.size)
        ]
        self._opening = self.tokenizer.encode(f"{SPECIAL[1]}assistant\n").ids
        self._answer = [*self.tokenizer.encode(ANSWER).ids, 2]

    def logits(self, tokens):
        """Return the row of logits, in single precision, for the next token."""
        prompt, answer = self.split(tokens)
        noise = np.random.default_rng(zlib.crc32(repr(tokens).encode()))
        row = noise.uniform(0, 1, self.width).astype(np.float32)
        closing = {"}": 2.5, '"': 2.0, ",": 2.0, '",': 1.5, '"}': 1.5}
        for at, piece in enumerate(self.pieces):
            row[at] += closing.get(piece, 0.0)
        row[list(self.ends)] += 1.0
        if self.tells_story(tuple(prompt)):
            row[list(self.ends)] -= 50.0
        else:
            row[self._answer[min(len(answer), len(self._answer) - 1)]] += 6.0
        row[self.size :] = 99.0
        return row

    @functools.lru_cache(512)  # noqa: B019 - rules live as long as the tests
    def tells_story(self, prompt):
        """Return whether the prompt asks for a text without an end."""
        return STORY in self.tokenizer.decode(list(prompt))

    def split(self, tokens):
        """Return the prompt and the answer so far; a warm-up has no opening of an answer."""
        size = len(self._opening)
        starts = range(len(tokens) - size, -1, -1)
        begin = next((at for at in starts if tokens[at : at + size] == self._opening), 0) + size
        return tokens[:begin], tokens[begin:]

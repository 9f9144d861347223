"""The tokenizer of a model's folder: `tokenizer.json`, and the ids that begin and end a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.engines.tokens.prompt_tails import PromptTails
from forebay.workers.engines.tokens.special_tokens import SpecialTokens

_FIELD = "FOREBAY_MODEL_DIR"
#: Special tokens that end a turn in the families of models. Many quantized folders name only one of
#: theirs, and without the others the model would go on as the user.
_TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>", "</s>",
)  # fmt: skip


class Tokenizer:
    """Turns text into token ids, and ids into text.

    Attributes:
        json: the text of `tokenizer.json`.
        size: one more than the highest id.
        ends: ids that end an answer, ascending.
        special_tokens: all special tokens, whatever they are for.
        special: `bos_token`, `eos_token` and others, if the folder names them.

    Raises:
        Unavailable: The package `tokenizers` is not installed.
        Misconfigured: A file is missing or wrong, or no id ends an answer.
    """

    def __init__(self, folder: Path) -> None:
        config = _json_object(folder / "tokenizer_config.json")
        self.json = text_of(folder / "tokenizer.json")
        self._tokenizer = _loaded(self.json)
        self.size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self.special = dict(_special_tokens(config))
        self.special_tokens = SpecialTokens(self._special_ids())
        self._tails = PromptTails(self._tokenizer)
        bos_id: int | None = self._tokenizer.token_to_id(self.special.get("bos_token", ""))
        self._added_bos = bos_id if config.get("add_bos_token") is True else None
        self.ends = tuple(sorted(self._end_ids(folder)))
        if not self.ends:
            raise Misconfigured("names no token that ends an answer", field=_FIELD)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a rendered prompt, in which special tokens stand as text."""
        [ids] = self._encode([text])
        bos_id = self._added_bos
        # Most templates write the first token themselves; a second one would confuse the model.
        return ids if bos_id is None or ids[:1] == [bos_id] else [bos_id, *ids]

    def continuations(self, prompt: str, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text as it follows the prompt."""
        tail = self._tails.of(prompt)
        tail_ids, *joined = self._encode([tail, *(tail + text for text in texts)])
        size = len(tail_ids)
        return [
            ids[size:] if ids[:size] == tail_ids
            # The tokenizer joins characters across the border, but the prompt's ids are fixed.
            else self._encode([text])[0]
            for text, ids in zip(texts, joined, strict=True)
        ]  # fmt: skip

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text. The batch method lets other threads run meanwhile."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _special_ids(self) -> dict[str, int]:
        added = self._tokenizer.get_added_tokens_decoder().items()
        return {token.content: token_id for token_id, token in added if token.special}

    def _end_ids(self, folder: Path) -> set[int]:
        ends: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            named = _json_object(folder / name).get("eos_token_id")
            ends |= {named} if isinstance(named, int) else set(named or ())
        special = self._special_ids()
        texts = (*_TURN_ENDS, self.special.get("eos_token", ""))
        ends |= {special[text] for text in texts if text in special}
        return {token_id for token_id in ends if 0 <= token_id < self.size}


def _loaded(tokenizer_json: str) -> Any:
    """Return the `tokenizers.Tokenizer` of this JSON, which neither truncates nor pads."""
    try:
        from tokenizers import Tokenizer as HuggingFaceTokenizer  # noqa: PLC0415 - only where needed
    except ImportError:
        raise Unavailable("there is no tokenizer: `pip install --no-deps tokenizers`") from None
    try:
        tokenizer = HuggingFaceTokenizer.from_str(tokenizer_json)
    except Exception:  # noqa: BLE001 - the package raises nothing narrower
        raise Misconfigured("its tokenizer.json cannot be read", field=_FIELD) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _special_tokens(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return special tokens by name; in the file each is a text or an object that holds a text."""
    named = [(key, token) for key, token in config.items() if key.endswith("_token") and token]
    texts = [
        (key, token.get("content") if isinstance(token, dict) else token) for key, token in named
    ]
    return [(key, text) for key, text in texts if isinstance(text, str)]


def _json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(text_of(path))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Misconfigured(f"its {path.name} is not a JSON object", field=_FIELD)
    return content


def text_of(path: Path) -> str:
    """Return the text in a file of a model's folder.

    Raises:
        Misconfigured: The file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise Misconfigured(f"its {path.name} cannot be read", field=_FIELD) from None

"""The tokens of a model's folder: its `tokenizer.json`, and the ids that begin and end a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forebay.routing.errors import Misconfigured, Unavailable
from forebay.workers.engines.tokens.prompt_tails import Tails, any_of

_FIELD = "FOREBAY_MODEL_DIR"
#: Special tokens that end a turn in the families of models. Many a quantized folder names only one
#: of its own, and the model would go on as the user.
_TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>", "</s>",
)  # fmt: skip


class Tokenizer:
    """Texts to token ids and back.

    Attributes:
        json: the text of `tokenizer.json`.
        size: one more than the highest id.
        ends: ids that end an answer, ascending.
        special: `bos_token`, `eos_token` and others, where the folder names them.

    Raises:
        Unavailable: The package `tokenizers` is not installed.
        Misconfigured: A file is missing or not what it should be, or no id ends an answer.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tokenizers import Tokenizer  # noqa: PLC0415 - only where an engine needs it
        except ImportError:
            raise Unavailable("there is no tokenizer: `pip install --no-deps tokenizers`") from None
        config = _object(folder / "tokenizer_config.json")
        self.json = _text(folder / "tokenizer.json")
        try:
            self._tokenizer: Any = Tokenizer.from_str(self.json)
        except Exception:  # noqa: BLE001 - the package raises nothing narrower
            raise Misconfigured("its tokenizer.json cannot be read", field=_FIELD) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self.special = dict(_special(config))
        self._marks = any_of(self._specials())
        self._tails = Tails(self._tokenizer)
        self._bos = self._id(self.special.get("bos_token", ""))
        self._adds_bos = config.get("add_bos_token") is True and self._bos is not None
        self.ends = tuple(sorted(self._ends(folder)))
        if not self.ends:
            raise Misconfigured("names no token that ends an answer", field=_FIELD)

    def encode(self, text: str) -> list[int]:
        """The ids of a rendered prompt, in which special tokens stand as text."""
        [ids] = self._cut([text])
        # Most templates write the first token themselves; twice it would confuse the model.
        if self._adds_bos and ids[:1] != [self._bos]:
            return [self._bos, *ids]  # type: ignore[list-item]  # not None: see `_adds_bos`
        return ids

    def disarmed(self, text: str) -> str:
        """A text of others, in which no special token can begin or end a turn of the prompt.

        A character without width goes into each; the model still reads what is written there.
        """
        return self._marks.sub(lambda mark: f"{mark[0][:1]}\u200b{mark[0][1:]}", text)

    def continuations(self, prompt: str, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text where it follows a prompt."""
        tail = self._tails.of(prompt)
        known, *wholes = self._cut([tail, *(tail + text for text in texts)])
        size = len(known)
        return [
            whole[size:] if whole[:size] == known
            # The tokenizer joins them across the border, which the model cannot any more.
            else self._cut([text])[0]
            for text, whole in zip(texts, wholes, strict=True)
        ]  # fmt: skip

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _cut(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text; called so, the tokenizer lets other threads run meanwhile."""
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in found]

    def _id(self, token: str) -> int | None:
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def _specials(self) -> dict[str, int]:
        added = self._tokenizer.get_added_tokens_decoder().items()
        return {one.content: number for number, one in added if one.special}

    def _ends(self, folder: Path) -> set[int]:
        ends: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            named = _object(folder / name).get("eos_token_id")
            ends |= {named} if isinstance(named, int) else set(named or ())
        special = self._specials()
        texts = (*_TURN_ENDS, self.special.get("eos_token", ""))
        ends |= {special[text] for text in texts if text in special}
        return {one for one in ends if 0 <= one < self.size}


def _special(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Special tokens by name; each is a text, or an object that holds one."""
    named = [(key, one) for key, one in config.items() if key.endswith("_token") and one]
    texts = [(key, one.get("content") if isinstance(one, dict) else one) for key, one in named]
    return [(key, text) for key, text in texts if isinstance(text, str)]


def _object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no such file."""
    if not path.is_file():
        return {}
    try:
        held = json.loads(_text(path))
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise Misconfigured(f"its {path.name} is not a JSON object", field=_FIELD)
    return held


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise Misconfigured(f"its {path.name} cannot be read", field=_FIELD) from None

"""Questions to a decision model, as llama.cpp's System One takes them.

A decision model scores options in one pass and writes no text. So it answers a prompt whose options
are to be scored, and no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.engine import Choice, Completion, Prompt, Turn, too_long

YES_NO = frozenset({"yes", "no"})
_NAME = "question"
_MIN_PROBABILITY = 1e-9  # an option is never quite impossible; JSON knows no infinity
_TOO_LONG = "exceed_context_size_error"


def options_of(prompt: Prompt) -> tuple[str, ...]:
    """Return the options that a prompt wants scored.

    Raises:
        InvalidJob: The prompt asks for a text.
    """
    if isinstance(prompt.constraint, Choice) and prompt.score_options:
        return prompt.constraint.options
    words = "is a decision model, which writes no text: set FOREBAY_MODEL_FILE to another file"
    raise InvalidJob(words, field="model")


def question(turns: Sequence[Turn], options: Sequence[str]) -> dict[str, Any]:
    """Return the body of a request: the system's turns ask, the other turns are the state."""
    state = "\n\n".join(turn.content for turn in turns if turn.role != "system")
    asked = {"instructions": "\n\n".join(turn.content for turn in turns if turn.role == "system")}
    if set(options) == YES_NO:
        return {"state": state, "questions": {_NAME: {"type": "noul", **asked}}}
    criteria = {option: option for option in options}
    return {"state": state, "questions": {_NAME: {"type": "choice", "criteria": criteria, **asked}}}


def answered(
    prompt: Prompt,
    options: Mapping[str, str],
    reply: dict[str, Any],
    context_tokens: int,
    took_s: float,
) -> Completion:
    """Return the reply as a completion: the best option, and how probable each is.

    `options` are those of the prompt, by how the model was asked about them.

    Raises:
        TooLong: The state and the question are longer than the context.
        InvalidJob: The model cannot answer the question.
    """
    if error := reply.get("error"):
        if error.get("type") == _TOO_LONG:
            raise too_long(prompt.messages, int(error.get("n_prompt_tokens", 0)), context_tokens)
        raise InvalidJob("is not answered by the decision model", field="messages")
    answer, usage = reply["answers"][_NAME], reply.get("usage", {})
    scores = {
        options.get(asked, asked): math.log(max(_MIN_PROBABILITY, p))
        for asked, p in _probabilities(answer)
    }
    return Completion(
        id=prompt.id,
        text=max(scores, key=scores.__getitem__),
        tokens_in=int(usage.get("input_tokens", 0)),
        tokens_out=0,
        finish="stop",
        option_logprobs=scores,
        prefill_s=took_s,
    )


def _probabilities(answer: dict[str, Any]) -> list[tuple[str, float]]:
    if answer["type"] == "noul":
        return [("yes", answer["noul"]), ("no", 1 - answer["noul"])]
    return list(answer["probabilities"].items())

"""A `Generator` over a server that batches requests by itself: one asynchronous request a slot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from forebay.routing.errors import InvalidJob, Misconfigured, Unavailable
from forebay.workers.engines.batching.event_queue import EventQueue
from forebay.workers.engines.batching.generator import Step, TextPart
from forebay.workers.engines.engine import Choice, Completion, Pattern, Prompt, too_long
from forebay.workers.engines.openai.client import TooLongForServer
from forebay.workers.engines.openai.connection import Connection
from forebay.workers.engines.openai.formats import (
    Format,
    begun_otherwise,
    format_of,
    literal_fields,
    quoted,
    quoted_tokens,
    unenforced,
)
from forebay.workers.engines.openai.generation import Generation
from forebay.workers.engines.openai.option_scores import normalised, option_scores
from forebay.workers.engines.openai.served import Served
from forebay.workers.engines.prefills import after, asking_again
from forebay.workers.engines.tokens.special_tokens import SpecialTokens

#: The special tokens of the common chat templates; a server does not tell those of its model.
SPECIAL_TOKENS = (
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<bos>", "<eos>", "<pad>", "<unk>",
    "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]",
    "[ARGS]", "[CALL_ID]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[THINK]", "[/THINK]", "[gMASK]",
    "<sop>", "<eop>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>",
    "</tool_response>", "]~b]", "]~!b[", "[e~[",
)  # fmt: skip
#: What the special tokens of most models look like: `<|im_end|>`, `<\uff5cUser\uff5c>`, `[|user|]`,
#: `<extra_id_1>`.
TOKEN_SHAPES = (
    ("<", r"\|[^\s|<>]{1,40}\|>"), ("<", "\uff5c[^\\s\uff5c<>]{1,40}\uff5c>"),
    (r"\[", r"\|[^\s|\[\]]{1,40}\|\]"),
    ("<", r"(?:extra_id|reserved|SPECIAL|unused)_?\d{1,4}>"), ("<", r"seed:[\w:]{1,30}>"),
)  # fmt: skip

#: How many parts an answer can have: those of its tokens, and of its beginning and end.
_CHUNKS_PER_TOKEN, _OTHER_CHUNKS = 2, 64


class Formats:
    """Finds out the format of each constrained prompt before the prompt is admitted."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._formats: dict[str, Format] = {}

    def prepare(self, prompt: Prompt) -> None:
        """See `Preparer.prepare`."""
        constraint = prompt.constraint
        if constraint is None:
            return
        form = self._served.form
        ignored = form == "schema" and not self._served.patterns
        if form is None or (ignored and isinstance(constraint, Pattern)):
            raise unenforced(constraint)
        if prompt.score_options and not self._served.top_logprobs:
            raise InvalidJob("cannot be scored: the server tells no alternatives", field="labels")
        self._formats[prompt.id] = format_of(prompt, constraint, form)

    def forget(self, prompt: Prompt) -> None:
        """See `Preparer.forget`."""
        self._formats.pop(prompt.id, None)

    def of(self, prompt: Prompt) -> Format | None:
        """Return the format of a prepared prompt; `None` if its text is free."""
        return self._formats.get(prompt.id)


@dataclass
class _Run:
    """A request that is under way."""

    prompt: Prompt
    generation: Generation
    format: Format | None
    task: asyncio.Task[Completion] | None = field(default=None, repr=False)
    cut: bool = False


class OpenAIGenerator:
    """Sends the requests of the running batch to the server.

    The requests run on the event loop of a thread of their own, and put events into a queue, from
    which a step reads: a prompt's id with the text of a chunk, or with its completion or error.
    """

    def __init__(
        self, served: Served, slots: int, context: int, formats: Formats, connection: Connection
    ) -> None:
        self.slots = slots
        self.branches_at_once = slots  # the server finds what they share in its own cache
        self._served = served
        self._context = context
        self._formats = formats
        self._connection = connection
        self._special_tokens = SpecialTokens(SPECIAL_TOKENS, TOKEN_SHAPES)
        self._runs: dict[str, _Run] = {}
        self._events = EventQueue(Misconfigured, Unavailable)

    def fits(self, prompt: Prompt) -> bool:  # noqa: ARG002 - the contract's; the server has its own queue
        """See `Generator.fits`: every slot may be as long as the context."""
        return True

    def admit(self, prompt: Prompt) -> None:
        """Send the prompt; if it is wrong, a step returns the error."""
        run = _Run(prompt, Generation(prompt.logprobs), self._formats.of(prompt))
        self._runs[prompt.id] = run
        self._connection.loop.call_soon_threadsafe(self._start, run)

    def step(self) -> Step:
        """Wait a moment for an event, and take all events that there are.

        A server that cannot be reached, or that refuses the key, breaks the engine.
        """
        step = self._events.step()
        for prompt_id in step.ended:
            del self._runs[prompt_id]
        return step

    def drop(self, prompt_id: str) -> None:
        """See `Generator.drop`: the connection is closed, at which the server stops."""
        self._connection.loop.call_soon_threadsafe(self._cut, self._runs[prompt_id])

    def close(self) -> None:
        """End all requests and close the connections."""
        self._connection.close()

    # --- on the event loop ---

    def _start(self, run: _Run) -> None:
        run.task = asyncio.get_running_loop().create_task(self._answer(run))
        run.task.add_done_callback(lambda task: self._settle(run, task))
        if run.cut:
            run.task.cancel()

    def _cut(self, run: _Run) -> None:
        run.cut = True
        if run.task is not None:
            run.task.cancel()

    def _settle(self, run: _Run, task: asyncio.Task[Completion]) -> None:
        if task.cancelled():
            event: Completion | BaseException = self._restored(run.generation, run.prompt.id)
        else:
            event = task.exception() or task.result()
        self._events.put(run.prompt.id, event)

    async def _answer(self, run: _Run) -> Completion:
        body, constraint = self._body(run), run.prompt.constraint
        try:
            if isinstance(constraint, Choice) and run.prompt.score_options and self._served.raw:
                return await self._force(run, body, constraint)
            await self._generate(run, body)
        except TooLongForServer as error:
            tokens = error.tokens
            if tokens is None or tokens >= self._context:
                length = self._context + 1 if tokens is None else tokens
                raise too_long(run.prompt.messages, length, self._context) from None
            # The server counts the tokens that the answer may get as well.
            await self._generate(run, body | {"max_tokens": self._context - tokens})
        return self._finished(run)

    async def _force(self, run: _Run, body: dict[str, Any], choice: Choice) -> Completion:
        """Force each option, one after the other, and return the one that the model gives most.

        The server has read the prompt after the first.
        """
        forced: dict[str, Completion] = {}
        sums: dict[str, float] = {}
        for option in choice.options:
            run.generation = Generation()
            limits = {"max_tokens": quoted_tokens(option), "temperature": 0, "stop": []}
            demand = literal_fields(option, self._served.form or "schema")
            await self._generate(run, body | limits | demand)
            if not "".join(run.generation.text).lstrip().startswith(quoted(option)):
                raise unenforced(choice)
            forced[option] = run.generation.completion(run.prompt.id)
            sums[option] = sum(run.generation.logprobs)
        scores = normalised(sums)
        best = max(scores, key=scores.__getitem__)
        more = {"text": best, "finish": "stop", "option_logprobs": scores}
        return forced[best].model_copy(update=more)

    async def _generate(self, run: _Run, body: dict[str, Any]) -> None:
        streams = run.prompt.stream and run.format is None
        left = _CHUNKS_PER_TOKEN * body["max_tokens"] + _OTHER_CHUNKS
        async for chunk in self._connection.client.chat(body):
            if (left := left - 1) < 0:
                raise Unavailable("the server sends an answer without an end")
            part = run.generation.take(chunk)
            if run.generation.model != self._served.answering:
                raise Unavailable("the server answers with another model than at the start")
            self._events.put(run.prompt.id, part if streams else TextPart(""))
        if run.generation.reason is None:
            raise Unavailable("the server ended an answer without its reason")

    def _finished(self, run: _Run) -> Completion:
        """Return the answer, read out of its format."""
        answer = self._restored(run.generation, run.prompt.id)
        format_, constraint = run.format, run.prompt.constraint
        if format_ is None or constraint is None:
            return answer
        text = format_.read(answer.text)
        if text is not None and run.prompt.prefill is not None:
            text = after(run.prompt.prefill, text)
            if text is None:
                raise begun_otherwise(constraint)
        if text is None:
            # A stop string cuts a constrained text because the caller asked for it.
            if run.prompt.stop or (answer.finish == "length" and format_.begins(answer.text)):
                return answer
            raise unenforced(constraint)
        answer = answer.model_copy(update={"text": text, "finish": "stop"})
        if not (isinstance(constraint, Choice) and run.prompt.score_options):
            return answer
        scores = option_scores(constraint.options, run.generation.scored())
        best = max(scores, key=scores.__getitem__)
        return answer.model_copy(update={"text": best, "option_logprobs": scores})

    def _restored(self, generation: Generation, prompt_id: str) -> Completion:
        answer = generation.completion(prompt_id)
        return answer.model_copy(update={"text": self._special_tokens.restored(answer.text)})

    def _body(self, run: _Run) -> dict[str, Any]:
        """Return the request as the API takes it."""
        prompt, format_ = run.prompt, run.format
        disarmed = self._special_tokens.disarmed
        more = format_.extra_tokens if format_ is not None else 0
        body: dict[str, Any] = {
            "model": self._served.model,
            "messages": [
                {"role": turn.role, "content": disarmed(turn.content)}
                # A server enforces a constraint on a whole answer alone.
                for turn in (prompt.messages if format_ is None else asking_again(prompt))
            ],
            "max_tokens": min(prompt.max_tokens + more, self._context),
            "temperature": prompt.temperature,
            "top_p": prompt.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt.prefill is not None and format_ is None:  # llama-server goes on from it by itself
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if self._served.form == "grammar":  # llama-server, whose own samplers are switched off
            body |= {"top_k": 0, "min_p": 0.0}
        if self._served.logprobs:
            most = self._served.top_logprobs
            wanted = most if prompt.score_options else max(1, prompt.logprobs or 0)
            body |= {"logprobs": True, "top_logprobs": min(wanted, most)}
        if format_ is not None:
            body |= format_.fields
        optional = {"stop": list(prompt.stop) or None, "seed": prompt.seed}
        return body | {key: value for key, value in optional.items() if value is not None}

"""Measure the bare generator: `python tests/benchmarks/baregpu.py`, with loads on stdin.

Each line is a load as JSON; the reply is a `Rate`. The model is loaded exactly as in a worker with
the same settings. Apart from that only Forebay's templates are used. The echo engine has no
generator of its own, so it is measured as an engine without the fleet.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gpuload import Load, Rate, offer, rate

from forebay.routing.settings import read
from forebay.workers.engines.engine import Engine, Prompt, Turn
from forebay.workers.engines.exllama.backend import TOP_K
from forebay.workers.engines.exllama.exl3_backend import Exl3Backend
from forebay.workers.engines.exllama.paged import PagedEngine
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings


def main() -> None:
    """Measure loads until stdin ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to stdout
    measure = measurer(read(EngineSettings))
    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        out.write(json.dumps(asdict(measure(Load(**json.loads(line))))) + "\n")
        out.flush()


def measurer(settings: EngineSettings) -> Callable[[Load], Rate]:
    """Return a function that measures the generator of a worker with these settings."""
    engine = make_engine(settings)
    return partial(_generator if isinstance(engine, PagedEngine) else _engine, engine)


def _engine(engine: Engine, load: Load) -> Rate:
    def ask(text: str) -> int:
        turns = (Turn(role="user", content=text),)
        prompt = Prompt(id=uuid.uuid4().hex, messages=turns, max_tokens=load.tokens)
        return engine.submit(prompt).result().tokens_out

    return offer(load, ask)


def _generator(engine: PagedEngine, load: Load) -> Rate:
    """Return the engine's generator. The engine's own loop sleeps, since nothing is submitted."""
    generator: Any = engine.backend.generator
    waiting = deque(_job(engine, text, load.tokens) for text in load.prompts())
    began = time.monotonic()
    answers: list[tuple[float, int]] = []
    while waiting or generator.num_remaining_jobs():
        while waiting and generator.num_remaining_jobs() < load.concurrency:
            generator.enqueue(waiting.popleft())
        ended = [one["new_tokens"] for one in generator.iterate() if one["eos"]]
        answers += [(time.monotonic(), tokens) for tokens in ended]
    return rate(began, answers, load.concurrency)


def _job(engine: PagedEngine, text: str, tokens: int) -> Any:
    """Return a greedy job without filters or probabilities, as in the library's examples."""
    vocabulary, parts = engine.language.vocabulary, engine.backend.parts
    rendered = engine.language.template.render([Turn(role="user", content=text)])
    if isinstance(engine.backend, Exl3Backend):
        how = {"sampler": parts.sampler(temperature=0.0, top_k=TOP_K, top_p=1.0)}
    else:
        greedy = parts.settings(token_repetition_penalty=1.0, temperature=1.0, top_k=1, top_p=0.0)
        how = {"gen_settings": greedy}
    return parts.job(
        input_ids=parts.tensor([vocabulary.encode(rendered)]),
        max_new_tokens=tokens,
        stop_conditions=list(vocabulary.ends),
        **how,
    )


if __name__ == "__main__":
    main()

"""The generator with nothing around it: `python tests/benchmarks/baregpu.py`, loads on stdin.

One load a line as JSON; one `Rate` a line comes back. The model lies on the card exactly as for a
worker, by the same settings; after that nothing of Forebay is used but its templates. With the echo
engine, which has no generator of its own, it is the engine without the fleet.
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gpuload import Load, Rate, offer

from routing.settings import read
from workers.engines.engine import Prompt, Turn
from workers.settings import EngineSettings


def main() -> None:
    """Until there are no more loads."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    settings = read(EngineSettings)
    measure = _engine(settings) if settings.engine == "echo" else _generator(settings)
    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        out.write(json.dumps(asdict(measure(Load(**json.loads(line))))) + "\n")
        out.flush()


def _engine(settings: EngineSettings) -> Callable[[Load], Rate]:
    from workers.engines.child import make_engine  # noqa: PLC0415 - one of two

    engine = make_engine(settings)

    def measure(load: Load) -> Rate:
        def ask(text: str) -> int:
            turns = (Turn(role="user", content=text),)
            prompt = Prompt(id=uuid.uuid4().hex, messages=turns, max_tokens=load.tokens)
            return engine.submit(prompt).result().tokens_out

        return offer(load, ask)

    return measure


def _generator(settings: EngineSettings) -> Callable[[Load], Rate]:
    from workers.engines import exl2  # noqa: PLC0415 - one of two

    folder = exl2.model_folder(settings)
    language = exl2.language_of(folder)
    share = exl2.Share.of(settings)
    plan = share.plan(settings, folder, "exl2")
    generator = exl2._load(share, plan, folder)._generator  # the very one that a worker drives
    import torch  # noqa: PLC0415 - the probe has looked at it now
    from exllamav2.generator import ExLlamaV2DynamicJob, ExLlamaV2Sampler  # noqa: PLC0415

    def job(text: str, load: Load) -> Any:
        rendered = language.template.render([Turn(role="user", content=text)])
        return ExLlamaV2DynamicJob(
            input_ids=torch.tensor([language.vocabulary.encode(rendered)], dtype=torch.long),
            max_new_tokens=load.tokens,
            gen_settings=ExLlamaV2Sampler.Settings.greedy(),
            stop_conditions=list(language.vocabulary.ends),
        )

    def measure(load: Load) -> Rate:
        waiting = deque(job(text, load) for text in load.prompts())
        began, tokens = time.monotonic(), 0
        while waiting or generator.num_remaining_jobs():
            while waiting and generator.num_remaining_jobs() < load.concurrency:
                generator.enqueue(waiting.popleft())
            tokens += sum(one["new_tokens"] for one in generator.iterate() if one["eos"])
        return Rate(tokens, time.monotonic() - began)

    return measure


if __name__ == "__main__":
    main()

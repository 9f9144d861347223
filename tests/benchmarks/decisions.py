"""Measure how well the packaged models decide: accuracy and calibration by question, in one run.

`python tests/benchmarks/decisions.py` asks the questions of `decisions.json` about its texts, which
are this project's own: of the sentence encoder, and with `--model` of the packaged language model
too, which takes minutes. Then it measures what it costs to ask all questions about a long text in
one job, beside one job for each question.

The temperatures of the encoder are fitted here as well. Each question is held back in turn, since a
question that nobody has seen is what a caller brings.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from forebay.routing.jobs import Decide, Decisions, Job
from forebay.workers.cascade import similarity
from forebay.workers.engines.engine import Engine
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.prompts import prompts
from forebay.workers.prompts.parsing import parse_answer

DATA = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
TYPES = ("predicate", "choice", "score")
GRID = (0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08, 0.12, 0.2, 0.4)
SURE = 0.6  # `min_probability.decide`: a local answer that is less certain goes up
BINS = 10  # of the calibration error
WAIT_S = 600.0
REPEATS = 3

Decider = Callable[[Job], Decisions]


@dataclass(frozen=True)
class Result:
    """One question about one text."""

    name: str
    type: str
    gold: str
    chosen: str
    probability: float
    certainty: float
    gold_probability: float

    @property
    def right(self) -> bool:
        return self.chosen == self.gold


def jobs() -> Iterator[tuple[Job, dict[str, str]]]:
    """Yield each text with its questions as a job, and the right answers."""
    for row in DATA["texts"]:
        request = Decide(state=row["text"], questions=DATA["questions"][row["set"]])
        yield Job(request=request), row["answers"]


def results(decide: Decider) -> list[Result]:
    """Return what a model answers to all questions."""
    return [
        Result(
            answer.name, answer.type, right[answer.name], answer.chosen, answer.probability,
            answer.certainty, answer.probabilities[right[answer.name]],
        )
        for job, right in jobs()
        for answer in decide(job).answers
    ]  # fmt: skip


def calibration_error(found: Iterable[Result]) -> float:
    """Return the expected calibration error (ECE) in bins of equal width."""
    bins: dict[int, list[Result]] = {}
    for result in found:
        bins.setdefault(min(BINS - 1, int(result.probability * BINS)), []).append(result)
    total = sum(map(len, bins.values()))
    return sum(
        abs(fmean(each.probability for each in part) - fmean(each.right for each in part))
        * len(part)
        / total
        for part in bins.values()
    )


def show(title: str, found: list[Result]) -> None:
    """Print a table: each question, then each type, then all."""
    print(f"\n{title}\n{'':14}{'n':>5}{'right':>8}{'common':>8}{'ECE':>7}{'sure':>7}{'of it':>7}")
    names = dict.fromkeys(result.name for result in found)
    groups = [
        *((name, [r for r in found if r.name == name]) for name in names),
        *((f"all {kind}s", [r for r in found if r.type == kind]) for kind in TYPES),
        ("all", found),
    ]
    for name, part in groups:
        sure = [each for each in part if each.certainty >= SURE]
        of_it = f"{fmean(each.right for each in sure):7.2f}" if sure else f"{'-':>7}"
        print(
            f"{name:14}{len(part):5}{fmean(each.right for each in part):8.2f}{_common(part):8.2f}"
            f"{calibration_error(part):7.2f}{len(sure) / len(part):7.2f}{of_it}"
        )


def _common(part: list[Result]) -> float:
    """Return the share that is right if each question always gets its most common answer."""
    by_name: dict[str, Counter[str]] = {}
    for result in part:
        by_name.setdefault(result.name, Counter())[result.gold] += 1
    return sum(max(counts.values()) for counts in by_name.values()) / len(part)


def held_back(decide: Decider) -> list[Result]:
    """Return the encoder's results, each question with a temperature fitted on the others."""
    shipped = dict(similarity.TEMPERATURES)
    runs = {}
    try:
        for temperature in GRID:
            similarity.TEMPERATURES.update(dict.fromkeys(TYPES, temperature))
            runs[temperature] = results(decide)
    finally:
        similarity.TEMPERATURES.update(shipped)
    found = []
    for name, kind in dict.fromkeys((each.name, each.type) for each in runs[GRID[0]]):
        losses = {
            temperature: _log_loss(each for each in run if each.type == kind and each.name != name)
            for temperature, run in runs.items()
        }
        best = min(losses, key=losses.__getitem__)
        found += [each for each in runs[best] if each.name == name]
    return found


def _log_loss(found: Iterable[Result]) -> float:
    return fmean(-math.log(max(1e-9, each.gold_probability)) for each in found)


def by_model(engine: Engine) -> Decider:
    """Return a decider that scores options with the engine's language model."""

    def decide(job: Job) -> Decisions:
        prompt = prompts.local(job, engine.info(), prompt_id=job.id)
        completion = engine.submit(prompt).result(WAIT_S)
        content = parse_answer(job, "", branch_logprobs=completion.branch_logprobs)
        assert isinstance(content, Decisions)
        return content

    return decide


def shared_reading(engine: Engine) -> None:
    """Print what six questions about a long text cost in one job, beside six jobs."""
    text = " ".join(row["text"] for row in DATA["texts"][:40])
    questions = [*DATA["questions"]["support"][:2], *DATA["questions"]["mail"], {
        "type": "predicate", "name": "long", "instructions": "The text is long."}]  # fmt: skip
    together = alone = 0.0
    for number in range(REPEATS):
        states = [f"{number}.{copy} {text}" for copy in range(len(questions) + 1)]
        start = time.perf_counter()
        by_model(engine)(Job(request=Decide(state=states[0], questions=questions)))
        middle = time.perf_counter()
        for state, question in zip(states[1:], questions, strict=True):
            by_model(engine)(Job(request=Decide(state=state, questions=[question])))
        together += middle - start
        alone += time.perf_counter() - middle
    words = len(text.split())
    print(f"\n{len(questions)} questions about a text of {words} words, {REPEATS} times:")
    print(f"in one job {together / REPEATS:.1f} s, in jobs of their own {alone / REPEATS:.1f} s")
    print(f"ratio {alone / together:.1f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="store_true", help="also measure the language model")
    asked = parser.parse_args()
    engine = make_engine(EngineSettings(engine="llamacpp"))
    try:
        encoder: Decider = lambda job: similarity.answer_all([job], engine.embed)[0][0]  # noqa: E731
        show("encoder, temperatures as shipped", results(encoder))
        show("encoder, each question held back from the fit", held_back(encoder))
        if asked.model:
            show(f"language model: {engine.info().model}", results(by_model(engine)))
        shared_reading(engine)
    finally:
        engine.close()


if __name__ == "__main__":
    main()

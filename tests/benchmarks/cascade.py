"""Plot quality against the share of jobs that go up to Bedrock, with a whole fleet on the CPU.

    make bench-cascade            (or: python tests/benchmarks/cascade.py --jobs 180 --rows FILE)
    ... --prompts FILE --outcomes FILE --strong MODEL     (a benchmark's questions beside the jobs)

The local lane is the packaged small model in its own process; the frontier is the mock. For the
project's own jobs the mock knows the right answers and gives them in a stated share of cases; to a
benchmark's questions it answers what a strong model really answered. Both lanes answer every job,
so each rule's curve is exact. Then the same jobs run once under the default policy, to see where
the fleet itself ends up.

The rules (`ranking.RULES`) are `random`; `verdict`, before the answer, by the score or by the
probability that the local answer will do; `checks` of the local answer; `checks + second`: failed
answers first, then those with a different second answer, then by the verdict; `checks + doubt`:
failed answers first, then by the doubt model.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy"), str(ROOT / "tests" / "benchmarks")]

from curves import draw  # noqa: E402 - found by the line above
from labelled import Labelled, generated, samples  # noqa: E402
from questions import questions  # noqa: E402
from ranking import RULES, Row, curve, show  # noqa: E402

from forebay.producers.client import Client  # noqa: E402
from forebay.producers.results import Result  # noqa: E402
from forebay.routing.errors import Misconfigured  # noqa: E402
from forebay.routing.jobs import Answer, Classification, Extract, Extraction, Generation, Verdict  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from forebay.workers.checks import agreement  # noqa: E402
from local.fleet import MOCK_ENV, Fleet  # noqa: E402
from mock_bedrock.server import KEY_PAIR, MockBedrock  # noqa: E402

TIMEOUT_S = 3_000.0
POLICY = """
[defaults]
daily_budget_usd = inf
[fleet]
daily_budget_usd = inf
[tenants.twice.second_opinion]
deny_too = true
stop_at_depth = 1e9
extract = 1.0
generate = 1.0
prose = 1.0
[tenants.default.second_opinion]
stop_at_depth = 1e9
"""


def main() -> None:
    """Run the jobs, or read the rows of an earlier run, and print the curves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=180, help="made from templates, beside samples")
    parser.add_argument("--prompts", type=Path, help="parquet: uid, prompt")
    parser.add_argument("--outcomes", type=Path, help="parquet: uid, model, score, pred")
    parser.add_argument("--strong", help="model of the outcomes that answers as the frontier")
    parser.add_argument("--questions", type=int, default=120, help="drawn from the prompts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accuracy", type=float, default=0.95, help="of the frontier, own jobs")
    parser.add_argument("--rows", type=Path, help="written here, or read where it exists")
    parser.add_argument("--curve", type=Path, help="an image of the curves")
    options = parser.parse_args()
    if options.rows and options.rows.exists():
        rows = [Row(**one) for one in json.loads(options.rows.read_text())]
    else:
        rows = measured(_jobs(parser, options), options.accuracy)
        if options.rows:
            options.rows.write_text(json.dumps([asdict(row) for row in rows]))
    show(rows)
    if options.curve:
        draw({name: curve(rows, rule) for name, rule in RULES.items()}, options.curve)


def _jobs(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Labelled]:
    """Return the project's own jobs, and questions if the options name files."""
    own = [
        *generated(options.jobs, options.seed),
        *samples(ROOT / "deploy" / "local" / "samples.jsonl"),
    ]
    files = (options.prompts, options.outcomes, options.strong)
    if not any(files):
        return own
    if not all(files):
        parser.error("--prompts, --outcomes and --strong go together")
    try:
        return own + questions(*files, count=options.questions, seed=options.seed)
    except Misconfigured as error:
        parser.error(str(error))


# --- measuring ----------------------------------------------------------------------------------


def measured(asked: Sequence[Labelled], accuracy: float) -> list[Row]:
    """Answer each job in both lanes, and once under the default policy."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), asked, accuracy) as fleet:
        local = answered(fleet, asked, "twice", egress="deny")
        frontier = answered(fleet, asked, "default", egress="allow", lane="bedrock")
        free = answered(fleet, asked, "default", egress="allow")
    both = zip(asked, local, frontier, free, strict=True)
    return [_row(*each) for each in both]


@contextmanager
def running(folder: Path, asked: Sequence[Labelled], accuracy: float) -> Iterator[Fleet]:
    """Run a fleet whose mock is right in `accuracy` of the cases without a known answer."""
    known, policy = folder / "known.jsonl", folder / "policy.toml"
    known.write_text("".join(_known(one, accuracy, at) for at, one in enumerate(asked)))
    policy.write_text(POLICY)
    env = {"FOREBAY_POLICY_FILE": str(policy), "FOREBAY_LEASE_S": "60"}
    with Fleet(folder / "fleet", env) as fleet, MockBedrock(known, key_pair=KEY_PAIR) as mock:
        fleet.start_redis()
        for part in ("router", "sweeper", "local"):
            fleet.start(part)
        fleet.start("bedrock", **MOCK_ENV, FOREBAY_BEDROCK_ENDPOINT=mock.url)
        fleet.wait_ready()
        yield fleet


def _known(one: Labelled, accuracy: float, at: int) -> str:
    said = one.said(lucky=random.Random(at).random() < accuracy)
    request = one.request.model_dump(mode="json", by_alias=True)
    return json.dumps({"request": request, "reference": said}) + "\n"


def answered(fleet: Fleet, asked: Sequence[Labelled], tenant: str, **terms: Any) -> list[Result]:
    """Return the result of each job, in order."""
    with Client(tenant=tenant, settings=Settings(redis_url=fleet.url)) as client:
        begun = [client.submit_future(one.request, **terms) for one in asked]
        return [future.result(TIMEOUT_S) for future in begun]


def _row(one: Labelled, local: Result, frontier: Result, free: Result) -> Row:
    verdict = local.verdict or Verdict(probability=0.5, version="none")
    doubt = local.doubt  # no doubt about answers that failed their checks
    return Row(
        source=one.source,
        kind=one.request.kind,
        local=worth(one, local),
        frontier=worth(one, frontier),
        odds=verdict.probability,
        gain=verdict.score,
        failed=doubt is None,
        doubt=doubt.probability if doubt else 1.0,
        agreement=doubt.agreement if doubt else None,
        realised=worth(one, free),
        went=free.lane == "bedrock",
        weights=(verdict.version, *([doubt.version] if doubt else [])),
    )


def worth(one: Labelled, outcome: Result) -> float:
    """Return how right an answer is, 0 to 1. A failure is worth 0."""
    if not isinstance(outcome, Answer):
        return 0.0
    match one.request, outcome.content:
        case Extract(), Extraction() as content:
            return agreement.fields(content.data, one.gold)
        case _, Classification() as content:
            return float(content.label == one.gold)
        case _, Generation() as content:
            return agreement.texts(content.text, str(one.gold))
        case _:
            return 0.0


if __name__ == "__main__":
    main()

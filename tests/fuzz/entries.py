"""Every entry point for bad input, and what each must do with it.

An entry point takes one input and either does its work or raises a `ForebayError` with a code. It
never raises anything else, hangs, or repeats the input. `Broken` says which entry point did.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis as redis_py
from tests.fuzz.inputs import CANARY, TENANT, WORDS, Inputs
from tests.fuzz.schemas import Schemas
from tests.support.stopwatch import within

from forebay.producers.cli import main as cli
from forebay.producers.client import Client
from forebay.routing.errors import BadAnswer, CallerError, ForebayError, Lost
from forebay.routing.jobs import Job, Summarize, parse_job, parse_request
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from forebay.routing.store.encryption import PLAIN
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.checks import bounded as bounded_checks
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.frontier.bedrock.converse_request import bounds, converse_request
from forebay.workers.isolation.limits import CPU_S
from forebay.workers.local import Local
from forebay.workers.prompts import bounded, prompts
from forebay.workers.router import Router
from forebay.workers.runtime.execute import attempt
from forebay.workers.runtime.outcomes import Retry
from forebay.workers.runtime.recording import record

MAX_INPUT_S = 10.0  # of computing
MAX_CALLS = 6  # for one answer: prompts, readings, checks and comparisons, each within its budget
BELL = '{"id": "@RING@", "queue": "@QUEUE@", "task": "@TASK@"}'
FIELDS = (
    "state", "hop", "queue", "egress", "priority", "deadline", "attempts", "created", "queued",
    "queued_ms", "worked_ms", "started", "fence", "token", "reasons", "verdict", "receipt",
    "error", "idempotency", "kind", "ended", "replayed_as",
)  # fmt: skip
ODD_FIELDS = (
    "", "0", "-1", "abc", "1e400", "nan", "9" * 400, "waiting", "running", "done", "bedrock",
    "local.default", "local.", "route", "allow", "{}", "[]", '{"probability": 2}', "null",
    "a" * 999, "\x00", '{"probability": 0.5, "version": "1"}', "fb:leases", "1.5",
)  # fmt: skip
ROOT = Path(__file__).parents[2]


class Broken(AssertionError):
    """An entry point broke a rule. The seed gives the input; the message never holds it."""


class Entries:
    """All entry points, on one Redis.

    Attributes:
        results: how often each entry point ended with each code.
    """

    def __init__(self, redis: redis_py.Redis, url: str, folder: Path, seed: int) -> None:
        self.inputs = Inputs(seed)
        self.dice = self.inputs.dice
        self.schemas = Schemas(self.dice)
        self.redis, self.folder = redis, folder
        settings = Settings(redis_url=url, max_attempts=2)
        self.ledger = Ledger(redis, settings, BELL)
        self.client = Client(tenant=TENANT, settings=settings, redis=redis)
        self.client._ledger = self.ledger
        self.router = Router(self.ledger)
        self.local = Local(
            self.ledger, lambda: Answerer(make_engine(EngineSettings(engine="echo")))
        )
        self.results: Counter[str] = Counter()
        self.entries: dict[str, Callable[[], str]] = {
            "parse": self.parse, "submit": self.submit, "ask": self.ask, "worked": self.worked,
            "formed": self.formed, "record": self.record, "content": self.content,
            "files": self.files, "cli": self.cli, "answered": self.answered,
        }  # fmt: skip

    def close(self) -> None:
        """Stop the engine."""
        self.local.close()

    def put_in(self, entry: str) -> None:
        """Make an input and put it into this entry point.

        Raises:
            Broken: The entry point hung, raised a wrong error, or repeated the input.
        """
        with capture_output() as output:
            try:
                with within(MAX_INPUT_S + MAX_CALLS * CPU_S, Broken):
                    code = self.entries[entry]()
            except ForebayError as error:
                code = error.code
                if error.code == "error" or leaks(error):
                    raise Broken(f"{entry}: {type(error).__name__}") from error
        if CANARY in output.getvalue():
            raise Broken(f"{entry}: repeated content on stderr or in a log")
        self.results[f"{entry} {code}"] += 1

    # --- the entry points: each makes an input, puts it in and returns a code ---------------------

    def parse(self) -> str:
        """Parse data and text by `parse_job` and `parse_request`."""
        inputs = self.inputs
        data = inputs.value() if self.dice.random() < 0.2 else inputs.near(inputs.job())
        match self.dice.randrange(4):
            case 0:
                self._expect_callers_mistake(lambda: parse_request(data))
            case 1:
                self._expect_callers_mistake(lambda: parse_job(inputs.json(data)))
            case 2:
                self._expect_callers_mistake(
                    lambda: parse_job(inputs.json(data).decode("utf-8", "replace"))
                )
            case _:
                self._expect_callers_mistake(
                    lambda: parse_job(data if isinstance(data, dict) else {"a": data})
                )
        return "ok"

    def submit(self) -> str:
        """Call `Client.submit` with odd options."""
        request = parse_request(self.inputs.request())
        good = {"egress": "allow", "metadata": {CANARY: CANARY}, "deadline": None, "lane": "auto"}
        options = {k: v for k, v in self.inputs.near(good).items() if k != "request"}
        self._expect_callers_mistake(lambda: self.client.submit(request, **options))
        return "ok"

    def ask(self) -> str:
        """Call a method of `Client` with an odd id."""
        odd_id = (
            self.dice.choice(("", f"{TENANT}.", f"{TENANT}.", f"{TENANT}.0", "other."))
            + self.inputs.text()
        )
        verb = self.dice.choice(("status", "cancel", "forget", "future"))
        self._expect_callers_mistake(lambda: getattr(self.client, verb)(odd_id))
        return "ok"

    def worked(self) -> str:
        """Take an accepted job, however odd, through both workers and to a Converse request."""
        job = parse_job(self.inputs.near(self.inputs.job()))
        claim = self._claimed(job)
        if claim is None:
            return "not claimable"
        for worker in (self.router, self.local):
            outcome = attempt(worker.work, claim)
            if isinstance(outcome, Retry) and outcome.code == "internal":
                raise Broken(f"worked: {type(worker).__name__} broke on a {job.kind}")
        if job.kind != "embed":
            prompt = prompts.frontier(job, prompt_id="fuzz")
            converse_request(prompt, "anthropic.claude-haiku-5-5", "fuzz")
            bounds(prompt, "anthropic.claude-haiku-5-5")
        with contextlib.suppress(Lost):
            record(self.ledger, claim, outcome)
        return "ok"

    def formed(self) -> str:
        """Answer a job with a random schema by a random document: in the local lane, and read."""
        schema, document = self.schemas.pair()
        text = f"{CANARY} {self.dice.choice(('', 'a ' * 9_000))}"
        job = Job(tenant=TENANT, request=parse_request(self._with_schema(text, schema)))
        claim = self._claimed(job)
        if claim is None:
            return "not claimable"
        outcome = attempt(self.local.work, claim)
        if isinstance(outcome, Retry):
            raise Broken(f"formed: a {job.kind} is tried again: {outcome.code}")
        try:
            content = bounded.parse_answer(job, json.dumps(document))
        except BadAnswer:
            return "no answer"
        checks = bounded_checks.check(job, content)
        bounded_checks.contents(content, content)
        return "ok" if all(check.name != "unchecked" for check in checks) else "unchecked"

    def answered(self) -> str:
        """Read a model's odd text as the answer of a job, check it, and compare it with another."""
        job = parse_job(self.inputs.job())
        if job.kind == "embed":
            return "has no text"
        try:
            content = bounded.parse_answer(job, self.inputs.answer(), finish="length")
        except BadAnswer:
            return "no answer"
        checks = bounded_checks.check(job, content)
        with contextlib.suppress(BadAnswer):
            other = bounded.parse_answer(job, self.inputs.answer())
            if not 0 <= bounded_checks.contents(content, other) <= 1:
                raise Broken(f"answered: two answers to a {job.kind} agree impossibly")
        return "ok" if all(check.name != "unchecked" for check in checks) else "unchecked"

    def record(self) -> str:
        """Forge fields of a record, and let everything that reads records read it."""
        self.redis.flushdb()
        job_id = self._create(Job(tenant=TENANT, egress="allow", request=Summarize(text=CANARY)))
        key = f"fb:job:{job_id}"
        if self.dice.random() < 0.5:
            self.ledger.claim("route")
        self._forge(key)
        for step in self.dice.sample(self._readers(job_id), 4):
            with contextlib.suppress(ForebayError):
                step()
        self._require_other_jobs_go_on()
        return self._require_end(job_id)

    def content(self) -> str:
        """Store odd bytes as the content and the answer of a job."""
        self.redis.flushdb()
        job = Job(tenant=TENANT, request=Summarize(text=CANARY))
        good = PLAIN.close(job.model_dump_json().encode())
        other = PLAIN.close(self.inputs.json(self.inputs.near(job.model_dump(mode="json"))))
        bomb = PLAIN.close(b"[" * 3_000_000)
        bad = self.inputs.broken(self.dice.choice((good, other, bomb, b"", b"f" + good, good[1:])))
        claim = self._claimed(job, bad)
        if claim is None:
            return "not claimable"
        outcome = attempt(self.router.work, claim)
        if isinstance(outcome, Retry) and outcome.code == "internal":
            raise Broken("content: the router broke on it")
        record(self.ledger, claim, outcome)
        self.redis.set(f"fb:answer:{job.id}", bad)
        self.redis.hset(f"fb:job:{job.id}", mapping={"state": "done", "receipt": ""})
        self.ledger.results([job.id])
        return "ok"

    def files(self) -> str:
        """Load a broken policy or price list."""
        name, read = self.dice.choice(
            (("deploy/policy.toml", Policy), ("routing/limits/prices.toml", Prices))
        )
        file = self.folder / "settings.toml"
        file.write_bytes(self.inputs.toml((ROOT / name).read_text()))
        self._expect_callers_mistake(lambda: read.load(file))
        return "ok"

    def cli(self) -> str:
        """Run a command line with odd arguments and standard input."""
        command = ["submit", self.dice.choice(("-", "classify", "summarize", "extract", "embed"))]
        options = [
            f"--{self.dice.choice(WORDS)}={self.inputs.text()}"
            for _ in range(self.dice.randrange(3))
        ]
        args = [arg for arg in (*command, *options) if "\x00" not in arg]
        if self.dice.random() < 0.3:
            args = [self.dice.choice(("status", "cancel", "result", "forget")), self.inputs.text()]
        stdin = self.inputs.json(self.inputs.near(self.inputs.job()))
        code, err = run_cli(args, stdin)
        if code not in (0, 1, 2) or "internal" in err or "Traceback" in err:
            raise Broken(f"cli: exit code {code}: {err[:200].replace(CANARY, '')!a}")
        return str(code)

    # --- the steps of the entry points ------------------------------------------------------------

    def _expect_callers_mistake(self, call: Callable[[], object]) -> None:
        """Call; raise `Broken` if it fails with any other error than a `CallerError`."""
        try:
            call()
        except CallerError:
            raise
        except ForebayError as error:
            raise Broken(f"{type(error).__name__} is no CallerError") from error

    def _with_schema(self, text: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a request whose answer has a schema."""
        if self.dice.random() < 0.7:
            return {"kind": "extract", "text": text, "schema": schema}
        messages = [{"role": "user", "content": text}]
        return {"kind": "generate", "messages": messages, "schema": schema}

    def _create(self, job: Job) -> str:
        (created,) = self.ledger.create([job])
        if isinstance(created, ForebayError):
            raise created
        return created

    def _claimed(self, job: Job, content: bytes | None = None) -> Claim | None:
        self.redis.flushdb()
        job_id = self._create(job)
        if content is not None:
            self.redis.set(f"fb:content:{job_id}", content)
        return self.ledger.claim("route")

    def _forge(self, key: str) -> None:
        for _ in range(self.dice.choice((1, 1, 2, 5))):
            field, value = self.dice.choice(FIELDS), self.dice.choice(ODD_FIELDS)
            match self.dice.randrange(10):
                case 0:
                    self.redis.hdel(key, field)
                case 1:
                    self.redis.hset(key, field, self.dice.randbytes(9))
                case 2:
                    self.redis.zadd("fb:later", {key.removeprefix("fb:job:"): 1})
                case _:
                    self.redis.hset(key, field, value)
        if self.dice.random() < 0.05:
            self.redis.set(key, "no hash")

    def _readers(self, job_id: str) -> list[Callable[[], object]]:
        ledger = self.ledger
        return [
            lambda: ledger.status(job_id),
            lambda: ledger.results([job_id]),
            lambda: ledger.record(job_id),
            lambda: ledger.watch(job_id, f"fb:wake:{job_id.partition('.')[0]}:fuzz"),
            lambda: self._work("route"),
            lambda: self._work("bedrock"),
            self._sweep,
            self._sweep,
        ]

    def _work(self, queue: str) -> None:
        if claim := self.ledger.claim(queue):
            with contextlib.suppress(Lost):
                record(self.ledger, claim, attempt(self.router.work, claim))

    def _sweep(self) -> None:
        for due in ("fb:leases", "fb:later"):
            for job_id in self.redis.zrange(due, 0, -1):
                self.redis.zadd(due, {job_id: 1})
        self.ledger.sweep()

    def _require_other_jobs_go_on(self) -> None:
        """Raise `Broken` if the forged job stops other jobs of its tenant."""
        good = self._create(Job(tenant=TENANT, request=Summarize(text=CANARY)))
        claim = self.ledger.claim("route")
        while claim is not None and claim.id != good:
            self.ledger.cancel(claim.id)
            claim = self.ledger.claim("route")
        if claim is None:
            raise Broken("record: a good job cannot be claimed any more")
        self.ledger.cancel(good)

    def _require_end(self, job_id: str) -> str:
        """Fail every attempt at the job; raise `Broken` if it then neither ends nor is due."""
        for _ in range(8):
            self._sweep()
            for queue in ("route", "local.default", "embed", "bedrock"):
                while claim := self.ledger.claim(queue):
                    self.ledger.retry(claim, "fuzz")
        if self.redis.type(f"fb:job:{job_id}") != b"hash":
            return "gone"
        state = (self.redis.hget(f"fb:job:{job_id}", "state") or b"none").decode("utf-8", "replace")
        due = self.redis.zscore("fb:later", job_id) or self.redis.zscore("fb:leases", job_id)
        if state in ("waiting", "running") and not due:
            raise Broken(f"record: the job is {state} for ever")
        return "ended"


def leaks(error: BaseException) -> bool:
    """Return whether anything that could be printed of an error holds content."""
    printed = "".join(traceback.format_exception(error)) + repr(error) + str(error.args)
    return CANARY in printed


#: The options that take a file. An error names the file: the person who reads it typed it.
FILE_OPTIONS = ("--file", "--questions", "--schema", "--state")
ECHOES = ("Usage", "forebay: usage", *(f"forebay: invalid_job: {name} " for name in FILE_OPTIONS))


def run_cli(args: list[str], stdin: bytes) -> tuple[int, str]:
    """Run a command line in this process; return its exit code and stderr.

    Raises:
        Broken: It repeated content, other than options that a usage error echoes and the name of a
            file.
    """
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(args)
    finally:
        sys.stdin = before
    printed = err.getvalue()
    if CANARY in printed and not printed.startswith(ECHOES):
        raise Broken("cli: repeated content")
    return code, printed


@contextlib.contextmanager
def capture_output() -> Iterator[io.StringIO]:
    """Capture what is logged, and printed on stderr, while this block runs."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stderr(output):
            yield output
    finally:
        root.removeHandler(handler)

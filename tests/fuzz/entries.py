"""Every entry that bad input can come in by, and what must hold of what it answers.

An entry takes one input and either does its work or raises a `ForebayError` with a code; it never
raises anything else, takes long, or says what was in the input. `Broken` says which did.
"""

from __future__ import annotations

import contextlib
import io
import logging
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis as redis_py
from tests.fuzz.inputs import CANARY, TENANT, WORDS, Inputs

from forebay.producers.cli import main as cli
from forebay.producers.client import Client
from forebay.routing.errors import CallerError, ForebayError, Lost
from forebay.routing.jobs import Job, Summarize, parse_job, parse_request
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from forebay.routing.store.encryption import PLAIN
from forebay.workers.cascade.answerer import Answerer
from forebay.workers.engines.host.child import make_engine
from forebay.workers.engines.settings import EngineSettings
from forebay.workers.frontier.converse_request import bounds, converse_request
from forebay.workers.local import Local
from forebay.workers.prompts import prompts
from forebay.workers.router import Router
from forebay.workers.runtime.execute import attempt, record
from forebay.workers.runtime.outcomes import Retry

LIMIT_S = 10.0  # for one input, on a busy machine
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
    """An entry that did what none may; the input is in the seed, never in the message."""


class Entries:
    """All of them, on one Redis.

    `log` has what was logged and printed; `ended` counts what came of the inputs.
    """

    def __init__(self, redis: redis_py.Redis, url: str, folder: Path, seed: int) -> None:
        self.inputs = Inputs(seed)
        self.dice = self.inputs.dice
        self.redis, self.folder = redis, folder
        settings = Settings(redis_url=url, max_attempts=2)
        self.ledger = Ledger(redis, settings, BELL)
        self.client = Client(tenant=TENANT, settings=settings, redis=redis)
        self.client._ledger = self.ledger
        self.router = Router(self.ledger)
        self.local = Local(
            self.ledger, lambda: Answerer(make_engine(EngineSettings(engine="echo")))
        )
        self.ended: Counter[str] = Counter()
        self.all: dict[str, Callable[[], str]] = {
            "parse": self.parse, "submit": self.submit, "ask": self.ask, "worked": self.worked,
            "record": self.record, "content": self.content, "files": self.files, "cli": self.cli,
        }  # fmt: skip

    def close(self) -> None:
        """Stop the engine."""
        self.local.close()

    def put_in(self, entry: str) -> None:
        """One input by this entry.

        Raises:
            Broken: It hung, raised what it must not, or repeated what was in the input.
        """
        with listening() as said:
            try:
                with within(LIMIT_S):
                    code = self.all[entry]()
            except ForebayError as error:
                code = error.code
                if error.code == "error" or leaks(error):
                    raise Broken(f"{entry}: {type(error).__name__}") from error
        if CANARY in said.getvalue():
            raise Broken(f"{entry}: repeated content on stderr or in a log")
        self.ended[f"{entry} {code}"] += 1

    # --- one method an entry: make an input, put it in, say what came of it -----------------------

    def parse(self) -> str:
        """`parse_job` and `parse_request`, of data and of text."""
        inputs = self.inputs
        data = inputs.value() if self.dice.random() < 0.2 else inputs.near(inputs.job())
        match self.dice.randrange(4):
            case 0:
                self._callers(lambda: parse_request(data))
            case 1:
                self._callers(lambda: parse_job(inputs.json(data)))
            case 2:
                self._callers(lambda: parse_job(inputs.json(data).decode("utf-8", "replace")))
            case _:
                self._callers(lambda: parse_job(data if isinstance(data, dict) else {"a": data}))
        return "ok"

    def submit(self) -> str:
        """`Client.submit` with odd options."""
        request = parse_request(self.inputs.request())
        good = {"egress": "allow", "metadata": {CANARY: CANARY}, "deadline": None, "lane": "auto"}
        options = {k: v for k, v in self.inputs.near(good).items() if k != "request"}
        self._callers(lambda: self.client.submit(request, **options))
        return "ok"

    def ask(self) -> str:
        """Every question of a client about an odd id."""
        odd = (
            self.dice.choice(("", f"{TENANT}.", f"{TENANT}.", f"{TENANT}.0", "other."))
            + self.inputs.text()
        )
        verb = self.dice.choice(("status", "cancel", "forget", "future"))
        self._callers(lambda: getattr(self.client, verb)(odd))
        return "ok"

    def worked(self) -> str:
        """A job that was taken in, however odd, on its way through both workers and to the door."""
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

    def record(self) -> str:
        """A record that somebody else wrote into, through everything that reads it."""
        self.redis.flushdb()
        job_id = self._put(Job(tenant=TENANT, egress="allow", request=Summarize(text=CANARY)))
        key = f"fb:job:{job_id}"
        if self.dice.random() < 0.5:
            self.ledger.claim("route")
        self._forge(key)
        for step in self.dice.sample(self._readers(job_id), 4):
            with contextlib.suppress(ForebayError):
                step()
        self._good_ones_go_on()
        return self._must_end(job_id)

    def content(self) -> str:
        """A content, or a draft, of odd bytes."""
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
        """A policy, or a price list."""
        name, read = self.dice.choice(
            (("deploy/policy.toml", Policy), ("routing/limits/prices.toml", Prices))
        )
        file = self.folder / "settings.toml"
        file.write_bytes(self.inputs.toml((ROOT / name).read_text()))
        self._callers(lambda: read.load(file))
        return "ok"

    def cli(self) -> str:
        """A command line and its standard input."""
        good = ["submit", self.dice.choice(("-", "classify", "summarize", "extract", "embed"))]
        typed = [
            f"--{self.dice.choice(WORDS)}={self.inputs.text()}"
            for _ in range(self.dice.randrange(3))
        ]
        args = [arg for arg in (*good, *typed) if "\x00" not in arg]
        if self.dice.random() < 0.3:
            args = [self.dice.choice(("status", "cancel", "result", "forget")), self.inputs.text()]
        stdin = self.inputs.json(self.inputs.near(self.inputs.job()))
        code, err = run_cli(args, stdin)
        if code not in (0, 1, 2) or "internal" in err or "Traceback" in err:
            raise Broken(f"cli: exit code {code}: {err[:200].replace(CANARY, '')!a}")
        return str(code)

    # --- how --------------------------------------------------------------------------------------

    def _callers(self, act: Callable[[], object]) -> None:
        """It is the caller's mistake, and the caller is told so."""
        try:
            act()
        except CallerError:
            raise
        except ForebayError as error:
            raise Broken(f"{type(error).__name__} is no error of a caller's") from error

    def _put(self, job: Job) -> str:
        (made,) = self.ledger.create([job])
        if isinstance(made, ForebayError):
            raise made
        return made

    def _claimed(self, job: Job, content: bytes | None = None) -> Claim | None:
        self.redis.flushdb()
        job_id = self._put(job)
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
            lambda: ledger.watch(job_id, "fb:wake:fuzz"),
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

    def _good_ones_go_on(self) -> None:
        """What is wrong with one job stops no other of its tenant."""
        good = self._put(Job(tenant=TENANT, request=Summarize(text=CANARY)))
        claim = self.ledger.claim("route")
        while claim is not None and claim.id != good:
            self.ledger.cancel(claim.id)
            claim = self.ledger.claim("route")
        if claim is None:
            raise Broken("record: a good job cannot be claimed any more")
        self.ledger.cancel(good)

    def _must_end(self, job_id: str) -> str:
        for _ in range(8):
            self._sweep()
            for queue in ("route", "local.default", "embed", "bedrock"):
                while claim := self.ledger.claim(queue):
                    self.ledger.retry(claim, "fuzz")
        if self.redis.type(f"fb:job:{job_id}") != b"hash":
            return "gone"
        state = (self.redis.hget(f"fb:job:{job_id}", "state") or b"none").decode("utf-8", "replace")
        leads = self.redis.zscore("fb:later", job_id) or self.redis.zscore("fb:leases", job_id)
        if state in ("waiting", "running") and not leads:
            raise Broken(f"record: it is {state} for ever")
        return "ended"


def leaks(error: BaseException) -> bool:
    """Whether anything that could be printed of an error holds content."""
    said = "".join(traceback.format_exception(error)) + repr(error) + str(error.args)
    return CANARY in said


def run_cli(args: list[str], stdin: bytes) -> tuple[int, str]:
    """A command line in this process: its exit code, and what it said but for echoed options."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(args)
    finally:
        sys.stdin = before
    said = err.getvalue()
    if CANARY in said and not said.startswith(("Usage", "forebay: usage")):
        raise Broken("cli: repeated content")
    return code, said


@contextlib.contextmanager
def listening() -> Iterator[io.StringIO]:
    """All that is logged, and printed on stderr, as long as this block runs."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stderr(said):
            yield said
    finally:
        root.removeHandler(handler)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Break off what takes longer, regular expressions included."""

    def stop(*_: Any) -> None:
        raise Broken(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

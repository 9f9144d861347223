"""Type checks of a caller's code, as the caller's own mypy and pyright see an installed Forebay."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
#: What is checked here has no mistake.
TYPES = """
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from forebay import (
    Answer, AsyncClient, Choice, Classification, Classify, Client, Decide, Decisions, Embed,
    Embedding, Extract, Extraction, ForebayError, Generate, Generation, Job, JobHandle, Label,
    Message, Options, Predicate, QuestionAnswer, Receipt, ResultTimeout, Score, Summarize, Summary,
)


from forebay.routing.receipts import AnyContent


class Invoice(BaseModel):
    total: float


AnyAnswer = Answer[
    Classification | Extraction[dict[str, Any]] | Summary | Generation | Embedding | Decisions
]
classify = Classify(text="t", labels=["a", Label(name="b", description="c", examples=["d"])])
decide = Decide(
    state={"days": 3},
    questions=[
        Predicate(name="late", instructions="Is it late?"),
        Choice(name="team", instructions="Which?", choices=["a", Label(name="b")], unsure=True),
        Score(name="hurry", instructions="How?", minimum=1, maximum=5),
    ],
)
generate = Generate(messages=[Message(role="user", content="hi")], stop=["."], temperature=0.5)


def sync(client: Client, stored: str) -> None:
    assert_type(client.run(classify).content.label, str)
    assert_type(client.run(classify, timeout=3, egress="allow").content.probability, float | None)
    assert_type(client.run(generate).content, Generation)
    assert_type(client.run(decide).content, Decisions)
    assert_type(client.run(decide).content["late"], QuestionAnswer)
    assert_type(client.run(Embed(texts=["a"])).content.vectors, tuple[tuple[float, ...], ...])
    assert_type(client.run(Extract(text="t", schema=Invoice)).content.data, Invoice)
    assert_type(client.run(Extract(text="t", schema={})).content.data, dict[str, Any])
    handle = client.submit(Extract(text="t", schema=Invoice), cache=True)
    assert_type(handle, JobHandle[Extraction[Invoice]])
    assert_type(client.result(handle).content.data, Invoice)
    assert_type(client.result(stored), AnyAnswer)
    job = Job(request=Extract(text="t", schema=Invoice), deadline=timedelta(hours=1))
    assert_type(job, Job[Extraction[Invoice]])
    assert_type(client.run(job).content.data, Invoice)
    assert_type(client.run(Job(request=classify)).content, Classification)
    jobs: list[Job] = [job, Job(request=classify)]
    print(client.submit(jobs[0]), client.submit(client.job(classify)))
    assert_type(JobHandle(stored, Invoice), JobHandle[Extraction[Invoice]])
    assert_type(client.result(JobHandle(stored, Invoice)).content.data, Invoice)
    assert_type(client.result(JobHandle(stored)), AnyAnswer)
    options: Options = {"egress": "deny", "deadline": timedelta(hours=1)}
    client.submit(classify, **options)
    assert_type(
        client.map(Summarize(text=text) for text in ["a"]), Iterator[Answer[Summary] | ForebayError]
    )
    for mixed in client.map([classify, generate, Extract(text="t", schema=Invoice), job]):
        answer: Answer[AnyContent] | ForebayError = mixed
        if not isinstance(mixed, ForebayError) and isinstance(mixed.content, Classification):
            print(mixed.content.label, answer)
    requests = [classify, generate]
    for other in client.map(requests):
        if not isinstance(other, ForebayError) and isinstance(other.content, Generation):
            print(other.content.text, other.cost_usd)
    typed: list[Classify | Generate] = [classify, generate]
    for some in client.map(typed):
        known: Answer[AnyContent] | ForebayError = some
        print(known)
    try:
        client.result(handle)
    except ResultTimeout as timeout:
        assert_type(timeout.job_id, str | None)
        assert_type(timeout.job_ids, tuple[str, ...])
    except ForebayError as error:
        assert_type(error.job_id, str | None)
        assert_type(error.receipt, Receipt | None)
    assert_type(client.submit_future(classify), Future[Answer[Classification] | Receipt])
    assert_type(client.future(handle), Future[Answer[Extraction[Invoice]] | Receipt])


async def in_asyncio(client: AsyncClient, stored: str) -> None:
    assert_type((await client.run(classify)).content.label, str)
    assert_type((await client.run(Extract(text="t", schema=Invoice))).content.data, Invoice)
    handle = await client.submit(generate)
    assert_type((await client.result(handle)).content, Generation)
    assert_type(await client.result(stored), AnyAnswer)
    async for answer in client.map([Summarize(text="t")]):
        assert_type(answer, Answer[Summary] | ForebayError)
    async for completed in client.as_completed([handle]):
        assert_type(completed.answer, Answer[Generation] | ForebayError)
        assert_type(completed.handle, JobHandle[Generation] | None)
    async for submitted in client.submit_all([Summarize(text="t")], egress="allow"):
        assert_type(submitted, JobHandle[Summary] | ForebayError)
    assert_type((await client.status(handle)).depth, int)
    assert_type(await client.replay(stored, egress="deny"), str)


def many(client: Client, stored: str) -> None:
    for completed in client.as_completed([stored, classify], timeout=1, cancel_on_exit=True):
        found: Answer | ForebayError = completed.answer
        print(found)
    for answer in client.map({"kind": "summarize", "text": text} for text in "ab"):
        found = answer
    for handle in client.submit_all([{"kind": "summarize", "text": "t"}]):
        print(handle)
    for submitted in client.submit_all([classify]):
        assert_type(submitted, JobHandle[Classification] | ForebayError)
"""

#: Each line is a mistake that both must find.
MISTAKES = [
    "client.run(classify).content.lable",
    "client.run(classify).content.text",
    "client.run(classify).content.vectors",
    'Classify(text="t")',
    'Classify(txt="t", labels=["a", "b"])',
    'Summarize(text="t", max_words="many")',
    'Extract(text="t", schema=int)',
    'client.run(classify, egress="maybe")',
    'AsyncClient().submit(classify, egres="deny")',
    "client.map([classify], cancel_on_exit=1.5)",
    'client.submit("text")',
]
HEADER = """from forebay import *
client = Client()
classify = Classify(text="t", labels=["a"])
"""


def callers_code(folder: Path) -> list[Path]:
    """Write code without a mistake: the examples, each block of README.md, the types of answers."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    written = [_write(folder / f"readme_{i}.py", block) for i, block in enumerate(blocks)]
    written.append(_write(folder / "answers.py", TYPES))
    return [*written, *(Path(shutil.copy(file, folder)) for file in EXAMPLES)]


def mistakes(folder: Path) -> tuple[Path, list[int]]:
    """Write `MISTAKES`; return the file and the number of each wrong line."""
    first = HEADER.count("\n") + 1
    file = _write(folder / "mistakes.py", HEADER + "\n".join(MISTAKES))
    return file, [*range(first, first + len(MISTAKES))]


def mypy(files, folder, python, cache):
    """Run `mypy --strict` without configuration or plugins; return its exit code and output.

    `python` is the interpreter whose environment has Forebay; mypy itself runs in this one, and
    keeps in `cache` what it knows of other packages.
    """
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "/dev/null"]
    command += ["--python-executable", str(python), "--cache-dir", str(cache)]
    return _run([*command, *map(str, files)], folder)


def pyright(files, folder, python, _cache):
    """Run pyright without configuration; return its exit code and output."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", str(python)]
    return _run([*command, *map(str, files)], folder)


def _write(file, text):
    file.write_text(text)
    return file


def _run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr

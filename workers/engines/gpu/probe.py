"""Check whether this machine can run EXL2 models, before a worker meets any known failure.

Each check needs the checks before it, so the first that fails is the one to fix. Nothing is
compiled here: importing exllamav2 without its extension would compile it for half an hour, in every
worker. A finding names what is missing and the command that makes it. Importing exllamav2 changes
settings of torch for the whole process, so the checks run in the engine's own process (`require`)
or in a separate one (`examine_apart`).
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forebay.routing.diagnostics import Finding
from forebay.routing.errors import EngineUnavailable
from forebay.workers.engines.gpu import prebuilt

BUILD = "run: forebay gpu build"
INSTALL_TORCH = (
    "pip install torch; its CUDA must be no newer than the one that nvidia-smi shows "
    "(pytorch.org has a torch for each)"
)
FALLBACK = "or set FOREBAY_ATTENTION=torch (slower)"
TORCH_ATTENTION = Path(__file__).with_name("attention")
OLDEST_ATTENTION = (2, 5, 7)  # the first with a block table, which the running batch needs
OLDEST_CAPABILITY = (8, 0)  # Ampere: what flash-attn and bfloat16 need
#: The packages that `import exllamav2` imports, by pip's name; torch's compiler needs setuptools.
NEEDS = {
    "PIL": "pillow", "numpy": "numpy", "rich": "rich", "safetensors": "safetensors",
    "setuptools": "setuptools", "tokenizers": "tokenizers",
}  # fmt: skip
_CALLS = ("flash_attn_func", "flash_attn_varlen_func", "flash_attn_with_kvcache")
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Attention:
    """The paged attention of the running batch: `flash-attn` or `torch`, and its version."""

    by: str
    version: str


def require(*, fallback: bool) -> Attention:
    """Make `import exllamav2` safe in this process, and return the attention that it will use.

    Args:
        fallback: take the attention written in torch, even if flash-attn is installed.

    Raises:
        EngineUnavailable: The import is not safe; the message says why and what to do.
    """
    for finding in findings(fallback=fallback):
        if finding.state == "fail":
            raise EngineUnavailable(f"{finding.seen}; {finding.mend}")
    version = importlib.import_module("flash_attn").__version__
    return Attention("torch" if fallback else "flash-attn", version)


def findings(*, fallback: bool) -> Iterator[Finding]:
    """Yield the finding of each check in order, up to and including the first that fails."""
    for check in (_torch, _cuda, _device, _exllamav2, _extension, _causal):
        finding = check()
        yield finding
        if finding.state == "fail":
            return
    finding = _torch_attention() if fallback else _flash_attention()
    yield finding
    if finding.state != "fail":
        yield _import_exllamav2()


def other_engines() -> Iterator[Finding]:
    """Yield whether exllamav3 loads, if it is built here; EXL2 does not need it."""
    if isinstance(torch := _load("torch"), str):
        return
    place = prebuilt.folder(torch.__version__, str(torch.version.cuda))
    if made := prebuilt.parts(place).get("exllamav3"):
        prebuilt.on_path(place)
        loaded = _load("exllamav3_ext")
        if isinstance(loaded, str):
            seen = f"exllamav3 {made} does not load ({loaded})"
            yield Finding("exllamav3", "fail", seen, f"{BUILD} --exllamav3 --again")
        else:
            yield Finding("exllamav3", "ok", f"{made} loads, for FOREBAY_ENGINE=exl3")


def examine_apart(*, fallback: bool) -> list[Finding]:
    """Return the findings of a separate process, whose crashes and side effects stay there."""
    argv = [sys.executable, "-m", __name__, *(["--fallback"] if fallback else [])]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)  # noqa: S603 - our own module
        return [Finding(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]
    except subprocess.TimeoutExpired:
        seen = f"no answer within {_TIMEOUT_S:g} s"
    except (IndexError, ValueError, TypeError):
        seen = f"the check ended with exit code {done.returncode}"
    return [Finding("exl2", "fail", seen, f"see why: {' '.join(argv)}")]


def _torch() -> Finding:
    if find_spec("torch") is None:
        return Finding("torch", "fail", "torch is not installed", INSTALL_TORCH)
    torch = _load("torch")
    if isinstance(torch, str):
        return Finding("torch", "fail", f"torch does not load ({torch})", "install torch again")
    return Finding("torch", "ok", str(torch.__version__))


def _cuda() -> Finding:
    torch = importlib.import_module("torch")
    if not torch.version.cuda:
        mend = "install a torch made for your CUDA in its place"
        return Finding("cuda", "fail", f"torch {torch.__version__} is built for CPUs only", mend)
    return Finding("cuda", "ok", f"torch for CUDA {torch.version.cuda}")


def _device() -> Finding:
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        mend = "nvidia-smi must show one; in a container: --gpus all; see CUDA_VISIBLE_DEVICES"
        return Finding("device", "fail", f"torch sees no CUDA device{_why(torch)}", mend)
    capability = tuple(torch.cuda.get_device_capability(0))
    seen = f"{torch.cuda.get_device_name(0)}, compute capability {capability[0]}.{capability[1]}"
    if capability < OLDEST_CAPABILITY:
        mend = "8.0 (Ampere) or newer is needed: use FOREBAY_ENGINE=llamacpp here"
        return Finding("device", "fail", f"{seen} is too old", mend)
    return Finding("device", "ok", seen)


def _why(torch: Any) -> str:
    """Return torch's own reason for seeing no device, such as an old driver."""
    try:
        torch.cuda.init()
    except Exception as error:  # noqa: BLE001 - torch raises several kinds
        return f" ({_in_short(error)})"
    return ""


def _exllamav2() -> Finding:
    if find_spec("exllamav2") is None:
        mend = "pip install --no-deps exllamav2==0.3.2"
        return Finding("exllamav2", "fail", "exllamav2 is not installed", mend)
    lacks = [package for name, package in NEEDS.items() if find_spec(name) is None]
    if lacks:
        seen = f"exllamav2 imports packages that are not installed: {', '.join(lacks)}"
        return Finding("exllamav2", "fail", seen, f"pip install {' '.join(lacks)}")
    return Finding("exllamav2", "ok", "installed")


def _extension() -> Finding:
    """Check that the extension is built: `import exllamav2` would compile it here and now."""
    torch = importlib.import_module("torch")
    place = prebuilt.folder(torch.__version__, torch.version.cuda)
    prebuilt.on_path(place)
    if find_spec("exllamav2_ext") is None:
        seen = f"exllamav2 has no compiled extension for {place.name}"
        return Finding("extension", "fail", seen, BUILD)
    loaded = _load("exllamav2_ext")
    if isinstance(loaded, str):
        seen = f"the extension of exllamav2 does not load with this torch ({loaded})"
        return Finding("extension", "fail", seen, BUILD)
    built = prebuilt.architectures(Path(str(loaded.__file__)).parent)
    capability = tuple(torch.cuda.get_device_capability(0))
    if built is not None and not prebuilt.serves(built, capability):
        this = ".".join(map(str, capability))
        seen = f"the extension is built for {', '.join(built)}, this GPU is {this}"
        return Finding("extension", "fail", seen, BUILD)
    return Finding("extension", "ok", f"loads from {Path(str(loaded.__file__)).parent}")


def _causal() -> Finding:
    """Switch off exllamav2's use of torch's own attention, which lets a prompt see its future.

    exllamav2 would use it without flash-attn. It reads both variables when it is imported.
    """
    if "EXLLAMA_NO_FLASH_ATTN" in os.environ:
        seen = "EXLLAMA_NO_FLASH_ATTN is set, which turns the running batch off"
        return Finding("causal", "fail", seen, "unset it")
    if "EXLLAMA_NO_SDPA" not in os.environ and "exllamav2.attn" in sys.modules:
        seen = "exllamav2 was imported with its non-causal attention"
        return Finding("causal", "fail", seen, "set EXLLAMA_NO_SDPA=1 before the start")
    os.environ["EXLLAMA_NO_SDPA"] = "1"
    return Finding("causal", "ok", "prompts are read causally")


def _torch_attention() -> Finding:
    prebuilt.on_path(TORCH_ATTENTION)
    seen = "written in torch, as FOREBAY_ATTENTION=torch asks: slower than flash-attn"
    return Finding("attention", "warn", seen, f"{BUILD}, and unset FOREBAY_ATTENTION")


def _flash_attention() -> Finding:
    """Check that flash-attn is new enough and complete; `flash-attn-4` has the same module name."""
    why = _attention_fault()
    if why:
        seen = f"the running batch is off without flash-attn 2.5.7 or newer: {why}"
        return Finding("attention", "fail", seen, f"{BUILD}; {FALLBACK}")
    return Finding(
        "attention", "ok", f"flash-attn {importlib.import_module('flash_attn').__version__}"
    )


def _attention_fault() -> str:
    if find_spec("flash_attn") is None:
        return "it is not installed"
    module = _load("flash_attn")
    if isinstance(module, str):
        return f"it does not load ({module})"
    version = getattr(module, "__version__", None)
    if version is None:
        return "another package is installed under its name (flash-attn-4 is one)"
    if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) < OLDEST_ATTENTION:
        return f"{version} is installed"
    if not all(hasattr(module, call) for call in _CALLS):
        return "the installed package lacks calls that exllamav2 makes"
    kernels = _load("flash_attn_2_cuda")
    return f"its kernels do not load ({kernels})" if isinstance(kernels, str) else ""


def _import_exllamav2() -> Finding:
    """Import exllamav2, which compiles nothing by now, and check that it found its attention."""
    attention = _load("exllamav2.attn")
    if isinstance(attention, str):
        mend = f"see why: {sys.executable} -c 'import torch, exllamav2'"
        return Finding("exl2", "fail", f"exllamav2 does not load ({attention})", mend)
    if not attention.has_flash_attn_with_paged:
        return Finding("exl2", "fail", "exllamav2 finds no paged attention", BUILD)
    return Finding("exl2", "ok", "exllamav2 loads, with paged attention")


def _load(name: str) -> Any:
    """Return the module, or in one short line why it does not load.

    Loading compiled code may raise any error, so all errors are caught.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - see above
        return _in_short(error)


def _in_short(error: Exception) -> str:
    first_line = (str(error).splitlines() or [""])[0][:160]
    return f"{type(error).__name__}: {first_line}"


def main() -> None:
    """Print the findings as one line of JSON, after the output of the libraries."""
    found = [*findings(fallback="--fallback" in sys.argv[1:]), *other_engines()]
    rows = [asdict(finding) for finding in found]
    sys.stdout.write("\n" + json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()

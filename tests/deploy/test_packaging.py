"""`pip install` adds one package, whose files never clash with the packages of a service."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import typecheck
from local.fleet import ROOT

pytestmark = pytest.mark.slow

PACKAGED = ("routing", "workers", "producers")
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2]))
"""
OWN = "from . import own\n"  # a service's own package, imported under the name that clashes
WORKER = ["-m", "celery", "-A", "forebay.workers.router", "worker", "-n", "router@%h"]
CLIENT = """
import sys
import routing, workers, producers
from forebay.producers.client import Client
from forebay.routing.jobs import Classify
from forebay.routing.ledger.ledger import Ledger

with Client() as client:
    job = client.submit(Classify(text="A parcel.", labels=["mail", "bill"]), lane="local")
    while (status := client.status(job)).hop == "route":
        pass
    print(status.queue)
assert all(sys.modules[name].own.MARK == name for name in ("routing", "workers", "producers"))
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Return a folder with a wheel and an sdist of this tree, built from a copy."""
    tree = tmp_path_factory.mktemp("tree with a space")
    for name in ("src", *PACKAGED):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    folder = tmp_path_factory.mktemp("dist")
    for kind in ("sdist", "wheel"):
        done = subprocess.run(
            [sys.executable, "-c", BUILD, kind, folder], cwd=tree, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


def install(archive, folder):
    """Install an archive into a new environment; return its Python and its folder of packages.

    The dependencies are those of this environment.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python3*/site-packages")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", str(archive)]
    (packages / "dependencies.pth").write_text(f"{Path(os.__file__).parent}\n{site_packages()}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), *words], check=True, timeout=110
    )
    return python, packages


def site_packages():
    """Return the folder of this environment's packages."""
    return Path(pytest.__file__).parents[1]


def own_packages(folder):
    """Give a service packages with the names of Forebay's folders."""
    for name in PACKAGED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(OWN)
        (folder / name / "own.py").write_text(f"MARK = {name!r}\n")
    return folder


@pytest.fixture(scope="module")
def wheel(archives, tmp_path_factory):
    (archive,) = archives.glob("*.whl")
    return install(archive, tmp_path_factory.mktemp("wheel") / "environment")


@pytest.fixture(scope="module")
def sdist(archives, tmp_path_factory):
    (archive,) = archives.glob("*.tar.gz")
    return install(archive, tmp_path_factory.mktemp("sdist") / "environment")


@pytest.fixture(params=["wheel", "sdist"])
def installed(request):
    return request.getfixturevalue(request.param)


def test_one_name_is_installed_with_all_its_files(installed):
    _, packages = installed
    names = {path.name for path in packages.iterdir() if not path.name.endswith(".dist-info")}
    assert names - {"dependencies.pth", "__pycache__"} == {"forebay"}
    installed_files = {
        str(path.relative_to(packages / "forebay"))
        for path in (packages / "forebay").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    files = {
        str(path.relative_to(ROOT))
        for name in PACKAGED
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files <= installed_files
    assert "py.typed" in installed_files


def test_a_service_with_folders_of_the_same_names_can_be_client_and_worker(
    installed, tmp_path, fleet
):
    python, _ = installed
    service = own_packages(tmp_path / "service")
    fleet.start_redis()
    env = {
        key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}
    } | {"FOREBAY_REDIS_URL": fleet.url, "FOREBAY_TENANT": "service"}
    with subprocess.Popen([python, *WORKER], cwd=service, env=env) as worker:
        try:
            done = subprocess.run(
                [python, "-c", CLIENT], cwd=service, env=env, capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
        finally:
            worker.terminate()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "local.default\n"


def test_the_wheel_holds_no_tests_and_nothing_twice(archives):
    (wheel,) = archives.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"forebay"}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", [typecheck.mypy, typecheck.pyright], ids=["mypy", "pyright"])
def test_callers_code_type_checks_against_the_wheel_without_a_plugin(
    checker, wheel, tmp_path, pytestconfig
):
    """Examples, README and the types of answers pass, and each mistake is an error."""
    files = typecheck.callers_code(tmp_path)
    wrong, lines = typecheck.mistakes(tmp_path)
    cache = pytestconfig.cache.mkdir("types-of-callers")
    code, output = checker([*files, wrong], tmp_path, wheel[0], cache)
    assert code == 1, output
    found = re.findall(r"(\w+\.py):(\d+)\b.* error: ", output)
    assert {file for file, _ in found} == {wrong.name}, output
    assert {int(line) for _, line in found} >= set(lines), output

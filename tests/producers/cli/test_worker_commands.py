"""The commands of the workers' side: named here, imported only when they run."""

import json
import subprocess
import sys
import tomllib

import pytest
import typer

from forebay.producers.cli import main as cli
from forebay.producers.cli import worker_commands
from forebay.producers.cli.worker_commands import COMMANDS, Entry
from local.fleet import ROOT

pytestmark = pytest.mark.slow


def without(*modules):
    """Return the start of a command line in a Python that lacks these modules."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({modules})); "
        "from forebay.producers.cli.main import main; main()"
    )
    return [sys.executable, "-c", script]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_an_entry_is_the_first_sentence_of_the_commands_own(name):
    command = typer.main.get_command(worker_commands.load(COMMANDS[name].target))
    assert COMMANDS[name].help == command.get_short_help_str(limit=200)


def test_every_extra_is_one_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {entry.extra for entry in COMMANDS.values() if entry.extra}
    assert extras <= set(project["optional-dependencies"])


def test_the_commands_and_checks_of_the_workers_are_found(forebay):
    code, out, _ = forebay("models", "list", "--json")
    assert code == 0
    assert {"qwen2.5-1.5b"} <= {model["name"] for model in json.loads(out)}
    assert {"model", "engine", "gpu", "aws"} <= {
        probe.__name__ for probe in worker_commands.probes(online=False)
    }


@pytest.mark.parametrize(
    ("modules", "args", "module"),
    [
        (
            ["sklearn", "scipy", "pyarrow", "numpy"],
            ["router", "train", "--prompts=p", "--outcomes=o", "--weak=w", "--strong=s", "--out=d"],
            "numpy",
        ),
        (
            ["scipy.optimize"],
            ["router", "train-doubt", "--prompts=p", "--outcomes=o", "--models=a,b", "--out=d"],
            "scipy.optimize",
        ),
        (
            ["pyarrow"],
            ["router", "eval", "--prompts=p", "--outcomes=o", "--weak=w", "--strong=s"],
            "pyarrow",
        ),
    ],
    ids=["train", "train-doubt", "eval"],
)
def test_a_missing_extra_is_one_error_that_names_it(modules, args, module):
    done = subprocess.run(
        [*without(*modules), *args], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"forebay: misconfigured: router: needs the module {module}, which is missing or broken: "
        "install the extra `router`; in the folder of Forebay, that is: pip install '.[router]'\n"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_needs_no_extra(name):
    extras = ["numpy", "scipy", "sklearn", "pyarrow", "matplotlib", "boto3", "xllamacpp", "jinja2"]
    done = subprocess.run(
        [*without(*extras), name, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: forebay {name} ")


def test_a_command_that_cannot_be_imported_breaks_no_other(forebay, monkeypatch):
    entry = Entry("no_such_module.at_all:app", "A broken command.", "gpu")
    monkeypatch.setitem(COMMANDS, "broken", entry)
    assert forebay("version")[0] == 0
    assert "A broken command." in forebay("--help")[1]
    code, _, err = forebay("broken", "list", "--all")
    assert code == 2
    assert err == (
        "forebay: misconfigured: broken: needs the module no_such_module, which is missing or "
        "broken: install the extra `gpu`; in the folder of Forebay, that is: pip install '.[gpu]'\n"
    )


def test_arguments_and_exit_codes_of_a_command_pass_through(forebay):
    code, out, err = forebay("plan", "--json", "--", "--no-such-folder")
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]["code"] == "misconfigured"
    code, out, err = forebay("models", "path", "--nonsense")
    assert (code, out) == (2, "")
    assert err == "forebay: usage: --nonsense: is not an option; see `forebay models path -h`\n"
    assert "Usage: forebay models pull" in forebay("models", "pull", "-h")[1]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ModuleNotFoundError(name="torch"), "cannot be imported: the module torch is missing"),
        (OSError("no such library"), "cannot be imported: OSError"),
    ],
)
def test_checks_that_cannot_be_imported_are_a_warning(capsys, monkeypatch, error, seen):
    def load(_):
        raise error

    monkeypatch.setattr(worker_commands, "load", load)
    cli.run(["doctor", "--json"])
    findings = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    finding = findings["checks workers"]
    assert (finding["state"], finding["seen"]) == ("warn", seen)

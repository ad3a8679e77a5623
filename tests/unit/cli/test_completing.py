# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion in a shell, by the protocol that shells speak."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.runs import make_line, make_run

from switchover.cli.completing import describe_arguments
from switchover.cli.main import VERBS, make_parser
from switchover.record.paths import labs_directory, runs_directory

HARNESS = Path(__file__).parents[3] / "harness"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Cases and arguments are kept here: the tests of this file read them once."""
    return str(tmp_path_factory.mktemp("cache"))


def ask(cache: str, line: str, **more: str) -> list[str]:
    """What a shell is told on file descriptor 8. Nothing may come by another."""
    environment = os.environ | {
        "PYTHONPATH": str(HARNESS),
        "XDG_CACHE_HOME": cache,
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        **more,
    }
    command = f"exec {sys.executable} -m switchover 8>answer"
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
    words = Path("answer").read_text()
    return [word.strip() for word in words.split("\v")] if words else []


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_verbs_and_options(cache: str) -> None:
    """Verbs by their first letters, actions and options of a verb, values that an option may have."""
    assert ask(cache, "switchover re") == ["repro"]
    assert ask(cache, "switchover lab st") == ["status"]
    assert ask(cache, "switchover -v run --keep-") == ["--keep-on-fail", "--keep-lab"]
    assert ask(cache, "switchover show last --format ju") == ["junit"]
    assert set(ask(cache, "switchover ")) == VERBS.keys()


def test_cases_and_tags(cache: str) -> None:
    """Scenarios and ids of the catalogue, where a verb takes cases; its tags."""
    assert "precopy" in ask(cache, "switchover run prec")
    assert ask(cache, "switchover plan precopy.") == ["precopy.device.pre_copy-off", "precopy.device.pre_copy-on"]
    assert "precopy" in ask(cache, "switchover list prec")
    assert "precopy.device.pre_copy-off" not in ask(cache, "switchover run ")
    assert "libvirt" in ask(cache, "switchover list --tag ")


def test_files_of_cases(cache: str) -> None:
    """Where no case begins with what is typed, files that may hold cases, and folders."""
    for name in ("mine.toml", "mine.py", "mine.txt"):
        Path(name).touch()
    Path("mine").mkdir()
    assert set(ask(cache, "switchover run mine")) == {"mine.toml", "mine.py", "mine/"}
    assert ask(cache, "switchover plan ./mine.t") == ["./mine.toml"]


def test_runs_and_their_cases(cache: str) -> None:
    """The latest run first; cases of the run that the line names, also where it was made elsewhere."""
    run = make_run(runs_directory(), [], [make_line("precopy.off"), make_line("precopy.on")])
    name = run.path.name
    assert ask(cache, "switchover show ") == ["last", name]
    cases = ask(cache, "switchover show last ")
    assert cases == ["precopy.off", "precopy.on"]
    elsewhere = run.path.parent.rename(Path("elsewhere").absolute())
    assert ask(cache, "switchover show last ") == []
    assert ask(cache, f"switchover show --runs {elsewhere} {name} ") == cases
    (elsewhere / name / "plan.json").unlink()
    (elsewhere / name / "precopy.on").mkdir(exist_ok=True)
    assert ask(cache, f"switchover repro --runs {elsewhere} {name} ") == ["precopy.on"]


def test_labs_and_their_hosts(cache: str) -> None:
    """Hosts of the lab that the line names."""
    for lab, hosts in (("default", ["hosta", "hostb"]), ("mine", ["hostc"])):
        (labs_directory() / lab).mkdir(parents=True)
        (labs_directory() / lab / "lab.json").write_text(json.dumps({"hosts": hosts}))
    assert ask(cache, "switchover lab ssh ") == ["hosta", "hostb"]
    assert ask(cache, "switchover lab ssh --lab mine ") == ["hostc"]
    assert ask(cache, "switchover repro --lab ") == ["default", "mine"]


@pytest.mark.parametrize(
    "line", ["", "switchover", "switchover xyzzy ", "switchover run 'open", "switchover show no-such-run "]
)
def test_nothing_to_say(cache: str, line: str) -> None:
    """A line that means nothing has no answer, and no message."""
    ask(cache, line)


@pytest.mark.parametrize("more", [{"COMP_POINT": "x"}, {"_ARGCOMPLETE": "x"}, {"_ARGCOMPLETE_IFS": "ab"}])
def test_a_shell_that_asks_wrongly(cache: str, more: dict[str, str]) -> None:
    """It gets no answer, and no message."""
    assert ask(cache, "switchover re", **more) == []


def test_arguments_that_are_kept_import_nothing(cache: str) -> None:
    """The second time, the module of the verb is not imported: what is kept of its arguments does."""
    ask(cache, "switchover run --out")
    script = (
        "import os, sys\nfrom switchover.cli import completing\nend = os._exit\n"
        "def tell(code):\n    print('switchover.cli.run' in sys.modules, flush=True)\n    end(code)\n"
        "completing.argcomplete.autocomplete = lambda *_, **__: tell(0)\ncompleting.complete()"
    )
    line = "switchover run --out"
    environment = os.environ | {
        "PYTHONPATH": str(HARNESS), "XDG_CACHE_HOME": cache, "_ARGCOMPLETE": "1", "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("verb", list(VERBS))
def test_the_arguments_of_each_verb_can_be_kept(verb: str) -> None:
    """They are values for JSON."""
    action = next(action for action in make_parser(verb)._actions if isinstance(action.choices, dict))
    assert isinstance(action.choices, dict)
    described = describe_arguments(action.choices[verb])
    assert json.loads(json.dumps(described)) is not None


def test_in_bash(cache: str, tmp_path: Path) -> None:
    """What `completion bash` prints makes a bash complete the command, also by a path, and put a space after it."""
    command = tmp_path / "switchover"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m switchover "$@"\n')
    command.chmod(0o755)
    script = """
        eval "$(./switchover completion bash)"
        complete -p switchover | grep -o -- '-F [a-z_]*' | cut -c4- | {
            read -r function
            COMP_LINE="./switchover lab st" COMP_POINT=19 COMP_TYPE=9 COMP_WORDS=(./switchover lab st)
            $function ./switchover st lab
            printf '<%s>\\n' "${COMPREPLY[@]}"
        }
    """
    environment = os.environ | {"PYTHONPATH": str(HARNESS), "XDG_CACHE_HOME": cache}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("<status >\n", "")

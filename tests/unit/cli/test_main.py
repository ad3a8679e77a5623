# SPDX-License-Identifier: GPL-2.0-or-later
"""The command: verbs, exit codes, interruption."""

import argparse
import importlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from switchover.cli import main as module
from switchover.cli.examples import EXAMPLES
from switchover.cli.main import VERBS, main
from switchover.record import errors
from switchover.record.log import LOG
from switchover.record.version import __version__


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """The command sets up logging and a signal: both are put back."""
    handlers, level, propagate = LOG.handlers[:], LOG.level, LOG.propagate
    handling = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    LOG.handlers[:], LOG.propagate = handlers, propagate
    LOG.setLevel(level)
    for number, handler in handling.items():
        signal.signal(number, handler)


def add_verb(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException) -> None:
    """A verb ``probe`` that ends in ``outcome``."""

    def run(arguments: argparse.Namespace) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    verb = ModuleType("switchover.cli.probe")
    verb.add_arguments = lambda parser: None  # type: ignore[attr-defined]
    verb.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "switchover.cli.probe", verb)
    monkeypatch.setitem(VERBS, "probe", "try things")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_verbs_own_code(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What a verb returns is the exit code."""
    add_verb(monkeypatch, code)
    assert main(["probe"]) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError, 2),
        (errors.NotReady, 3),
        (errors.HostLost, 3),
        (errors.CommandFailed, 3),
        (errors.Deadline, 3),
        (errors.GuestCrashed, 1),
        (errors.Refused, 1),
        (errors.SwitchoverError, 4),
    ],
)
def test_each_class_of_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[errors.SwitchoverError], code: int
) -> None:
    """An expected error is its message, without a Python trace, and the code of its class."""
    add_verb(monkeypatch, error("It failed.", why="broken", fix="mend it"))
    assert main(["probe"]) == code
    out, err = capsys.readouterr()
    assert err == "switchover: It failed.\n  why: broken\n  fix: mend it\n"
    assert out == ""


def test_a_bug_shows_its_trace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Any other error is a bug of ours: 4, with the trace that a report needs."""
    add_verb(monkeypatch, ZeroDivisionError("x"))
    assert main(["probe"]) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: x" in err
    assert "this is a bug of switchover" in err


def test_an_interruption(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is 130, without a trace."""
    add_verb(monkeypatch, KeyboardInterrupt())
    assert main(["probe"]) == 130
    assert "Traceback" not in capsys.readouterr().err


HOLD = """
import sys, time
from types import ModuleType
from switchover.cli.main import VERBS, main
from switchover.record.errors import NotReady
def run(arguments):
    try:
        print("held", flush=True)
        time.sleep(60)
    finally:
        print("releasing", flush=True)
        time.sleep(float(sys.argv[1]))
        print("released", flush=True)
        if sys.argv[2:]:
            raise NotReady(sys.argv[2])
    return 0
verb = ModuleType("switchover.cli.probe")
verb.add_arguments, verb.run = lambda parser: None, run
sys.modules["switchover.cli.probe"] = verb
VERBS["probe"] = "try things"
sys.exit(main(["probe"]))
"""


def start_holding(*words: str) -> subprocess.Popen[str]:
    """A command that holds something; ``words``: how long its release takes, and what fails in it."""
    command = subprocess.Popen(
        [sys.executable, "-c", HOLD, *words],
        env=os.environ | {"PYTHONPATH": "harness"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "held\n"
    return command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_releases_what_is_held(number: signal.Signals) -> None:
    """TERM is as Ctrl-C: what a verb holds is released, then the command ends with 130."""
    command = start_holding("0")
    command.send_signal(number)
    out, err = command.communicate(timeout=10)
    assert (command.returncode, out) == (130, "releasing\nreleased\n")
    assert "interrupted" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_cut_the_release_short(number: signal.Signals) -> None:
    """Whoever presses Ctrl-C again is asked for patience, and the release goes on to its end."""
    command = start_holding("0.5")
    command.send_signal(signal.SIGINT)
    assert command.stdout is not None
    assert command.stdout.readline() == "releasing\n"
    command.send_signal(number)
    out, err = command.communicate(timeout=10)
    assert (command.returncode, out) == (130, "released\n")
    assert "this takes some seconds" in err


def test_a_release_that_fails_after_an_interruption() -> None:
    """What failed in the release is said, and the command still counts as interrupted."""
    command = start_holding("0", "something is left")
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=10)
    assert command.returncode == 130
    assert "interrupted, and while everything was released: something is left" in err


@pytest.mark.parametrize("words", [["no-such-verb"], [], ["--no-such-option"], ["lab"], ["images", "no-such-action"]])
def test_the_users_mistakes(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown verb, option or action is 2, with a word on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: switchover" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "told"), [("rnu", ": did you mean 'run'?\n"), ("xyzzy", "unknown verb 'xyzzy'\n")])
def test_a_verb_that_is_misspelt(word: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest verb is suggested, if one is near at all."""
    with pytest.raises(SystemExit) as caught:
        main(["-v", word])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize("verb", list(VERBS))
def test_the_examples_of_a_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its help ends with two examples at least, each of which its own parser takes."""
    assert len(EXAMPLES[verb]) >= 2
    parser = module.make_parser(verb)
    for words, _ in EXAMPLES[verb]:
        assert parser.parse_args(shlex.split(words)).run
        assert words.split()[0] == verb
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert capsys.readouterr().out.endswith(f"{EXAMPLES[verb][-1][1]}\n")


def test_help_lists_all_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb has a line of its own, and no verb's module is imported for it."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert any(line.split()[:1] == [verb] for line in text.splitlines())


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_a_module(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb that is listed can be asked for its own help."""
    verb_module = importlib.import_module(f"switchover.cli.{verb}")
    assert callable(verb_module.run)
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert f"usage: switchover {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is printed."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"switchover {__version__}\n"


def test_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-v`` shows commands; without it they are not shown."""
    seen: list[bool] = []
    monkeypatch.setattr(module, "set_up_logging", lambda *, verbose: seen.append(verbose))
    add_verb(monkeypatch, 0)
    main(["-v", "probe"])
    main(["probe"])
    assert seen == [True, False]

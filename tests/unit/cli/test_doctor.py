# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover doctor`` and ``switchover hosts``: what is asked for, what is printed, exit codes."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.test_main import as_it_was  # noqa: F401 (a fixture)
from tests.unit.surveys import SURVEY, with_machine

from switchover.cli import doctor, hosts
from switchover.cli.main import main
from switchover.devices.survey import HostSurvey
from switchover.hosts.checks import Check, failed, passed, unverifiable
from switchover.record.invocation import VARIABLE

INVENTORY = 'version = 1\n[host.rack1]\naddress = "127.0.0.1"\nport = 1\nhost_key = "ssh-ed25519 AAAA"\n'


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, "./switchover")
    path = tmp_path / "inventory.toml"
    path.write_text(INVENTORY)
    return path


@pytest.fixture(autouse=True)
def controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller whose lab is blocked and whose demo is not."""
    checks = [
        Check("good", ("demo", "lab", "test"), lambda: passed("fine")),
        Check("bad", ("lab",), lambda: failed("broken", "switchover images build")),
        Check("worth knowing", (), lambda: failed("old", "switchover images clean")),
        Check("tests only", ("test",), lambda: unverifiable("unseen")),
    ]
    monkeypatch.setattr(doctor, "controller_checks", lambda: checks)


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[HostSurvey]:
    """What any host answers."""
    answers = [SURVEY]
    monkeypatch.setattr(hosts.Sources, "_survey", lambda self, name, qemus: answers[0])
    return answers


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 3),
        (["--for", "demo"], 0),
        (["--for", "lab"], 3),
        (["--for", "test"], 0),
        (["--for", "demo", "--for", "lab"], 3),
        (["--for", "nothing"], 2),
        (["--for", "host"], 2),
        (["--for", "host", "none"], 2),
        (["--for", "demo", "lab"], 2),
    ],
)
def test_exit_codes(inventory: Path, words: list[str], code: int) -> None:
    """0 if all that is needed holds, 3 if not, 2 for what nobody knows; what was not asked for does not count."""
    assert main(["doctor", "--inventory", str(inventory), *words]) == code


def test_output(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Failures come first, each with what it blocks and a command that can be pasted; each target says whether it is
    ready.
    """
    main(["doctor", "--inventory", str(inventory), "--for", "lab", "--for", "demo"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "FAILED bad broken",
        "blocks: lab",
        "fix: ./switchover images build",
        "FAILED worth knowing old",
        "blocks: nothing",
        "fix: ./switchover images clean",
        "ok good fine",
        "1 passed, 2 failed, 0 could not be verified here",
        "lab: blocked by bad",
        "demo: ready",
    ]


def test_json(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the same."""
    main(["doctor", "--inventory", str(inventory), "--for", "lab", "--json"])
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "bad",
        "outcome": "failed",
        "seen": "broken",
        "blocks": ["lab"],
        "fix": "./switchover images build",
    }


def test_for_a_host(inventory: Path, surveys: list[HostSurvey], capsys: pytest.CaptureFixture[str]) -> None:
    """A host is checked by its survey; the controller's checks are left out."""
    words = ["doctor", "--inventory", str(inventory), "--for", "host", "rack1"]
    assert main(words) == 0
    assert "good" not in capsys.readouterr().out
    surveys[0] = with_machine(programs=())
    assert main(words) == 3
    assert "host rack1: blocked by rack1: programs" in capsys.readouterr().out


def test_a_host_that_is_down_is_a_row(
    inventory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``hosts`` lists a host that does not answer as one, and ends well; ``doctor`` fails for it."""
    key = tmp_path / "key"
    monkeypatch.setattr(hosts, "survey_host", lambda host, origin, *_, **__: SURVEY)
    inventory.write_text(INVENTORY + f'key = "{key}"\n')
    assert main(["hosts", "--inventory", str(inventory), "rack1"]) == 0
    assert "rack1  (inventory)\n  unreachable  " in capsys.readouterr().out
    assert main(["hosts", "--inventory", str(inventory), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["reachable"] for row in rows] == [True, False]
    assert main(["doctor", "--inventory", str(inventory), "--for", "host", "rack1"]) == 3


def test_hosts_that_nobody_knows(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name is a mistake with the right one; a wrong inventory tells its line."""
    assert main(["hosts", "--inventory", str(inventory), "rack2"]) == 2
    assert "did you mean 'rack1'? Allowed: local, rack1" in capsys.readouterr().err
    inventory.write_text(INVENTORY.replace("port = 1", "prot = 1"))
    assert main(["hosts", "--inventory", str(inventory)]) == 2
    assert f"{inventory}:4: host.rack1.prot: unknown key; did you mean 'port'?" in capsys.readouterr().err

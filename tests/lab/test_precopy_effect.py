# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiment of the catalogue, short: what is run in which order, what is moved, and what is said of it."""

import contextlib
import json
from pathlib import Path

import pytest

from switchover.cli import run as verb
from switchover.cli.main import main
from switchover.lab.lab import Lab

STATE = 15_000_000
STOP_COPY = 1_500_000
ARMS = ("off", "on", "on-ack")


@pytest.fixture(autouse=True)
def borrowed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's lab: it is leased by the session itself."""
    monkeypatch.setattr(verb, "acquire_lab", lambda **_: contextlib.nullcontext(lab))


def test_the_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two rounds of three arms, there and back. Each repeat moves exactly the device's bytes, in the phase that its arm
    has for them; both downtimes are there; two rounds tell nothing, and that is what is said. The time to set up the
    destination is in the downtime without pre-copy, and not in it with.
    """
    assert main(["run", "precopy-effect", "--repeat", "2", "--output", str(tmp_path), "--history", "off"]) == 0
    told = capsys.readouterr().out
    assert "arm compared with off, in turns: off on on-ack, on-ack on off\n" in told
    (path,) = tmp_path.iterdir()
    assert main(["compare", str(path), "--json"]) == 0
    (comparison,) = json.loads(capsys.readouterr().out)
    assert comparison["order"] == [list(ARMS), list(reversed(ARMS))]
    numbers = {arm["name"]: arm["numbers"] for arm in comparison["arms"]}
    for arm, early in zip(ARMS, (0, STATE - STOP_COPY, STATE - STOP_COPY), strict=True):
        for name, moved in (("bytes.vfio.precopy", early), ("bytes.vfio.stop_copy", STATE - early)):
            spread = numbers[arm][name]
            assert (arm, name, spread["count"], spread["low"], spread["high"]) == (arm, name, 2, moved, moved)
        assert numbers[arm]["downtime.explained"]["count"] == numbers[arm]["downtime.outside"]["count"] == 2
    assert numbers["off"]["downtime.explained"]["low"] > 1.48
    assert max(numbers[arm]["downtime.explained"]["high"] for arm in ARMS[1:]) < 1.48
    assert comparison["left_out"] == []
    conclusions = [entry["conclusion"] for entry in comparison["differences"]]
    assert len(conclusions) == 6
    assert all(text.startswith("can't tell from 2 rounds: 9 are needed (in these, ") for text in conclusions)
    assert conclusions[0] in told


def test_the_default_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With QEMU's default downtime limit the same device does not converge without pre-copy, and does with it."""
    assert main(["run", "precopy-default-limit", "--output", str(tmp_path), "--history", "off"]) == 0
    told = capsys.readouterr().out
    assert "device.pre_copy-off  hung (source), as expected: not converging" in told
    assert "device.pre_copy-on  completed" in told

# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of the controller, each seen to fail."""

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from switchover.hosts import processes
from switchover.hosts.checks import CheckResult, Outcome, run_checks
from switchover.hosts.host import Completed
from switchover.hosts.journal import Change, render_change
from switchover.lab import checks as module
from switchover.lab.accelerator import tcg
from switchover.lab.checks import EVERYTHING, controller_checks
from switchover.lab.images import Image
from switchover.lab.labfile import LabFile, write_lab_file
from switchover.lab.mirror import Mirror
from switchover.lab.recipes import RECIPES, compute_digest
from switchover.record.errors import CommandFailed
from switchover.record.paths import data_directory, journals_directory


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty cache and state directories."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def run(name: str) -> CheckResult:
    (check,) = [check for check in controller_checks() if check.name == name]
    (result,) = run_checks([check])
    return result


def require_failed(name: str, seen: str, fix: str) -> CheckResult:
    result = run(name)
    assert result.outcome is Outcome.FAILED
    assert seen in result.seen
    assert fix in result.fix
    return result


def fake_run(monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> None:
    """Commands of the controller answer this."""

    def run_command(argv: Sequence[str], **_: object) -> Completed:
        if isinstance(answer, Exception):
            raise answer
        return Completed(tuple(argv), 0, answer.encode(), b"")

    monkeypatch.setattr(processes, "run", run_command)


def test_names_and_blocks() -> None:
    """Names are unique; what blocks anything blocks what the doctor knows."""
    checks = controller_checks()
    assert len({check.name for check in checks}) == len(checks)
    assert {target for check in checks for target in check.blocks} == set(EVERYTHING)


def test_python() -> None:
    """An older Python fails."""
    assert module.check_python((3, 10, 9)).outcome is Outcome.FAILED
    assert module.check_python((3, 11, 0)).outcome is module.check_python((4, 0, 0)).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    "name",
    ["mmdebstrap", "ssh", "pgrep", "socat", "qemu-system-x86_64", "chromium", "chromedriver", "zsh", "fish", "setpriv"],
)
def test_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """A program that is not there is named with its package."""
    pretend(monkeypatch, tmp_path, "ID=debian")
    monkeypatch.setattr(shutil, "which", lambda program, path: None)
    require_failed(f"program {name}", f"{name} was not found", "apt-get install ")


def test_user_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without root needs newuidmap, root does not."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert module.user_programs() == ["newuidmap"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert module.user_programs() == []


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """This machine runs another distribution."""
    (tmp_path / "os-release").write_text(text)
    monkeypatch.setenv("SWITCHOVER_OS_RELEASE", str(tmp_path / "os-release"))


@pytest.mark.parametrize(
    ("text", "outcome", "seen", "fix"),
    [
        ('ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="13"', Outcome.PASSED, "Debian GNU/Linux 13", ""),
        (
            "ID=ubuntu\nNAME=Ubuntu\nVERSION_ID=24.04",
            Outcome.UNVERIFIABLE,
            "Ubuntu 24.04: nobody",
            "SWITCHOVER_MIRROR=",
        ),
        ("ID=fedora\nNAME=Fedora", Outcome.UNVERIFIABLE, "Fedora: nobody tried it", ""),
        (
            "ID=arch\nNAME=Arch",
            Outcome.UNVERIFIABLE,
            "Arch: names of its packages are not known",
            "SWITCHOVER_NO_APT=1",
        ),
    ],
)
def test_distribution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, outcome: Outcome, seen: str, fix: str
) -> None:
    """Where nobody tried it, it says so, and blocks nothing."""
    monkeypatch.delenv("SWITCHOVER_MIRROR", raising=False)
    pretend(monkeypatch, tmp_path, text)
    result = run("distribution")
    assert (result.outcome, result.blocks) == (outcome, ())
    assert seen in result.seen
    assert fix in result.fix


def test_recipes_and_cases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package without its recipes or its catalogue blocks everything."""
    assert run("recipes and cases").outcome is Outcome.PASSED
    monkeypatch.setattr(module, "data_directory", lambda name: tmp_path / name)
    assert module.check_data().outcome is Outcome.FAILED


def test_settings_that_refuse_namespaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only those that this kernel has are named: Debian's, or that of Ubuntu's AppArmor."""
    monkeypatch.setattr(module, "_KERNEL", tmp_path)
    assert module.explain_sysctl() == ""
    (tmp_path / "apparmor_restrict_unprivileged_userns").touch()
    assert module.explain_sysctl() == "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; "


def test_accelerator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an image KVM cannot be tried; a /dev/kvm that hangs is told, and blocks nothing."""
    result = run("accelerator")
    assert (result.outcome, result.blocks) == (Outcome.UNVERIFIABLE, ())
    monkeypatch.setattr(module, "find_image", lambda name: Image(name, "d", tmp_path, 1, 1.0))
    monkeypatch.setattr(module, "find_accelerator", lambda labhost, qemu: tcg("/dev/kvm opens, but hangs"))
    assert run("accelerator").seen == "tcg: /dev/kvm opens, but hangs"


def test_memory() -> None:
    """Too little memory fails; with a lab that is up already it cannot be told."""
    assert module.check_memory(available=7 << 30, labs=0).outcome is Outcome.PASSED
    assert module.check_memory(available=1 << 30, labs=0).outcome is Outcome.FAILED
    assert module.check_memory(available=1 << 30, labs=1).outcome is Outcome.UNVERIFIABLE


@pytest.mark.parametrize("name", ["disk of the cache", "disk of runs"])
def test_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A full disk fails with the variable that names another."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1 << 20}))
    require_failed(name, "1.0 MiB free", "XDG_")


@pytest.mark.parametrize("name", ["cache directory", "state directory"])
def test_directories(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A directory that cannot be written fails."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    require_failed(name, "Permission denied", "XDG_")


def test_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without namespaces images cannot be built; a user is told another way out than root."""
    fake_run(monkeypatch, CommandFailed("unshare failed", why="Operation not permitted"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    require_failed("namespaces", "root gets no namespaces: Operation not permitted", "container")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    require_failed("namespaces", "a user gets no namespaces", "add-subuids")


def test_keyring_and_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys that are missing, a mirror that is down, and no apt to ask with."""
    monkeypatch.setattr("switchover.lab.mirror.KEYRING", tmp_path / "none")
    require_failed("keys of Debian's archive", "is missing", "debian-archive-keyring")
    monkeypatch.setattr(module, "read_mirror", lambda: Mirror("http://mirror.example/debian/", None, ()))
    monkeypatch.setattr(module, "_APT_HELPER", tmp_path)
    fake_run(monkeypatch, CommandFailed("apt-helper failed", why="Could not connect"))
    url = "http://mirror.example/debian/dists/trixie/InRelease"
    require_failed("Debian mirror", f"{url} cannot be had: Could not connect", "apt-get update")
    monkeypatch.setattr(module, "_APT_HELPER", tmp_path / "none")
    assert run("Debian mirror").outcome is Outcome.UNVERIFIABLE


def test_building_blocks_nothing_once_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mirror that is down blocks everything while an image is missing, and nothing after."""

    def blocks() -> tuple[str, ...]:
        return next(check.blocks for check in controller_checks() if check.name == "Debian mirror")

    assert blocks() == EVERYTHING
    monkeypatch.setattr(module, "find_image", lambda name: Image(name, "d", tmp_path, 1, 1.0))
    assert blocks() == ()


def test_images(monkeypatch: pytest.MonkeyPatch, directories: Path) -> None:
    """Not built is no failure, and one line for all; a file that is gone or changed is one; older ones are counted."""
    assert run("images not built yet").outcome is Outcome.PASSED
    assert run("images not built yet").seen.startswith(f"{', '.join(RECIPES)}; ")
    assert not [check for check in controller_checks() if check.name.startswith("image ")]
    digest = compute_digest("guest", data_directory("images"))
    image = directories / "cache" / "switchover" / "images" / f"guest-{digest}"
    image.mkdir(parents=True)
    require_failed("image guest", "is damaged", "switchover images build guest")
    assert "guest" not in run("images not built yet").seen.partition(";")[0].split(", ")
    (image / "vmlinuz").write_text("kernel")
    manifest = {"artifacts": {"vmlinuz": 6}, "sha256": {"vmlinuz": "0"}, "size": 6, "seconds": 1}
    (image / "manifest.json").write_text(json.dumps(manifest))
    require_failed("image guest", "vmlinuz is not what was built", f"rm -r {image}")
    image.rename(image.with_name("guest-0000"))
    assert run("older images").seen.startswith("1, 6 B")


def make_lab(directories: Path) -> Path:
    lab = directories / "state" / "switchover" / "labs" / "mine"
    (lab / "hosta").mkdir(parents=True)
    token = "switchover-lab-0123456789ab"
    write_lab_file(lab, LabFile("mine", token, "/tmp/none", 0, {}, {}, ["hosta"], {"hosta": 1}))
    return lab


class Process:
    """A QEMU of a lab host, as psutil lists it."""

    def __init__(self, lab: Path) -> None:
        self.pid = 4711
        words = ["qemu", "-name", "switchover-lab-0123456789ab-hosta", "-serial", f"file:{lab}/hosta/console.log"]
        self.info = {"cmdline": words}


def test_labs(monkeypatch: pytest.MonkeyPatch, directories: Path) -> None:
    """A lab that nobody will stop, and one with a lab host missing, are told with the command that stops them."""
    assert run("labs").seen == "none is up"
    lab = make_lab(directories)
    require_failed("labs", "nobody will stop: mine", "switchover clean")
    monkeypatch.setattr(psutil, "process_iter", lambda names: [Process(lab)])
    assert run("labs").outcome is Outcome.PASSED
    (lab / "lab.json").write_text((lab / "lab.json").read_text().replace('"hosta"\n', '"hosta", "hostb"\n'))
    require_failed("labs", "mine: 1 of 2 lab hosts run", "switchover lab down mine")


def test_runs_that_were_killed(directories: Path) -> None:
    """What a dead process has in its journal is told, and only listed."""
    assert run("runs that were killed").outcome is Outcome.PASSED
    change = Change(1, {"kind": "local"}, "local", "tap sw1", ("false",), ("false",))
    journals_directory().mkdir(parents=True)
    path = journals_directory() / "a.jsonl"
    head = {"journal": 1, "owner": "process 4711: switchover demo", "started": "2026-01-01T00:00:00+00:00"}
    text = json.dumps(head) + "\n" + json.dumps(render_change(change)) + "\n"
    path.write_text(text)
    require_failed("runs that were killed", "process 4711: switchover demo: 1 changes", "switchover clean")
    assert path.read_text() == text


def test_strays(monkeypatch: pytest.MonkeyPatch, directories: Path) -> None:
    """A lab host whose lab is gone is a stray; one of any lab that is there is not."""
    lab = make_lab(directories)
    monkeypatch.setattr(psutil, "process_iter", lambda names: [Process(lab)])
    assert run("lab hosts without a lab").outcome is Outcome.PASSED
    (lab / "lab.json").unlink()
    require_failed("lab hosts without a lab", "1 QEMU processes", "kill 4711")


def test_packages_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are missing block the tests only."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert require_failed("packages of the tests", "pytest, hypothesis", "./switchover test").blocks == ("test",)

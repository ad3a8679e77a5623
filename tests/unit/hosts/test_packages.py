# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of packages by distribution: the table, os-release, and the script ``switchover`` that installs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.packages import (
    COMMANDS,
    VARIABLE,
    explain_install,
    find_distribution,
    list_wanted,
    parse_os_release,
    read_distribution,
    read_table,
)

SCRIPT = Path(__file__).parents[3] / "switchover"
DEBIAN_12 = 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n'
DEBIAN_13 = 'NAME="Debian GNU/Linux"\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nID=debian\n'
UBUNTU = 'NAME="Ubuntu"\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n'
FEDORA = "NAME='Fedora Linux'\nID=fedora\nVERSION_ID=42\nVERSION_CODENAME=\"\"\n"
MINT = 'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22"\n'
ALMA = 'NAME="AlmaLinux"\nID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="10.0"\n'
ARCH = 'NAME="Arch Linux"\nID=arch\n'


@pytest.mark.parametrize(
    ("text", "family", "title"),
    [
        (DEBIAN_12, "debian", "Debian GNU/Linux 12"),
        (DEBIAN_13, "debian", "Debian GNU/Linux 13"),
        (UBUNTU, "ubuntu", "Ubuntu 24.04"),
        (FEDORA, "fedora", "Fedora Linux 42"),
        (MINT, "ubuntu", "Linux Mint 22"),
        (ALMA, "fedora", "AlmaLinux 10.0"),
        (ARCH, "", "Arch Linux"),
        ("", "", "an unnamed system"),
    ],
)
def test_distributions(text: str, family: str, title: str) -> None:
    """A distribution's own name decides, else what it says it is like, the nearest first."""
    found = find_distribution(parse_os_release(text))
    assert (found.family, found.title) == (family, title)


def test_os_release_as_a_shell_has_it() -> None:
    """Both quotes, escapes, comments, and lines that are none are understood."""
    text = '# A=1\n\nB=\'two words\'\nC="a \\"quoted\\" one"\nD=\nE\nF=\'open\n'
    assert parse_os_release(text) == {"B": "two words", "C": 'a "quoted" one', "D": ""}


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    """Any file is read to its end."""
    find_distribution(parse_os_release(text))


@pytest.mark.parametrize("text", [DEBIAN_12, DEBIAN_13, UBUNTU, FEDORA, ARCH])
def test_each_row_has_an_answer(text: str) -> None:
    """For everything that the table names there is a command or a sentence, on each distribution."""
    on = find_distribution(parse_os_release(text))
    for what in read_table():
        assert explain_install(what, on=on)


def test_commands() -> None:
    """Names of the distribution and its command; a package is named once; what no package has is told."""
    answers = {
        text: explain_install("ssh", "newuidmap", "unshare", "setpriv", on=find_distribution(parse_os_release(text)))
        for text in (DEBIAN_13, UBUNTU, FEDORA, ARCH)
    }
    assert answers[DEBIAN_13] == answers[UBUNTU] == "apt-get install openssh-client uidmap util-linux"
    assert answers[FEDORA] == "dnf install openssh-clients shadow-utils util-linux"
    assert "Debian's packages: openssh-client uidmap util-linux" in answers[ARCH]
    told = explain_install("socat", "mmdebstrap", on=find_distribution(parse_os_release(FEDORA)))
    assert told.startswith("dnf install socat; none of Fedora's packages")


def test_occasions() -> None:
    """What the script knows when to look for; Debian has a package for all of it."""
    assert {package.when for package in read_table().values()} == {
        "start", "build", "user", "python", "test", "all", "named",
    }  # fmt: skip
    assert all("debian" in package.names for package in read_table().values())
    assert list_wanted("user") == ["newuidmap"]


def test_a_file_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Instead of /etc/os-release; if it is not there, no distribution is known."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "os-release"))
    assert read_distribution().family == ""
    (tmp_path / "os-release").write_text(FEDORA)
    assert read_distribution().family == "fedora"


def start(
    tmp_path: Path, text: str, *words: str, installers: Sequence[str] = ("apt-get", "dnf")
) -> tuple[int, str, str]:
    """The script on a machine that has no program of the table, with installers that only tell what they were asked.

    :returns: exit code, what it said, and the calls of installers
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cat", "cut", "dirname", "env", "flock", "id", "ls", "mkdir", "readlink", "sha256sum"):
        (programs / name).symlink_to(str(shutil.which(name)))
    for name in installers:
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/calls"\nexit 1\n')
        (programs / name).chmod(0o755)
    (programs / "sudo").write_text('#!/bin/sh\n[ "$1" != -n ] || shift\nexec "$@"\n')
    (programs / "sudo").chmod(0o755)
    (tmp_path / "os-release").write_text(text)
    environment = {
        "PATH": str(programs), "HOME": str(tmp_path), VARIABLE: str(tmp_path / "os-release"),
        "SWITCHOVER_PYTHON": sys.executable,
    }  # fmt: skip
    done = subprocess.run(
        [str(programs / "sh"), str(SCRIPT), "--yes", *words],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    calls = tmp_path / "calls"
    return done.returncode, done.stderr, calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize("text", [DEBIAN_12, DEBIAN_13, UBUNTU])
def test_the_script_on_debian_and_ubuntu(tmp_path: Path, text: str) -> None:
    """apt-get installs what starts and what builds images; a failure names the command, and ends with 3."""
    code, said, calls = start(tmp_path, text, "plan", "precopy")
    assert code == 3
    (asked,) = [line for line in calls.splitlines() if " install " in line]
    assert {"mmdebstrap", "openssh-client", "procps"} < set(asked.split())
    assert "socat" not in asked
    assert "by hand, as root: apt-get update && apt-get install --no-install-recommends" in said


def test_the_script_on_fedora(tmp_path: Path) -> None:
    """dnf installs by Fedora's names; what Fedora has no package of is passed over."""
    code, said, calls = start(tmp_path, FEDORA, "test", "--all")
    assert code == 3
    assert {"openssh-clients", "procps-ng", "socat", "qemu-system-x86", "zsh", "fish"} < set(calls.split())
    assert not {"apt-get", "mmdebstrap", "chromium", "-"} & set(calls.split())
    assert "by hand, as root: dnf install" in said


def test_the_script_elsewhere(tmp_path: Path) -> None:
    """A system with none of the commands: what is missing is named, by Debian's packages too, and nothing is called."""
    code, said, calls = start(tmp_path, ARCH, "plan", installers=())
    assert (code, calls) == (3, "")
    assert "ssh pgrep" in said
    assert "Debian's packages: openssh-client procps" in said
    assert "SWITCHOVER_NO_APT=1" in said


def test_columns() -> None:
    """The script reads the families in the order in which the table has them."""
    assert f"read -r what when {' '.join(COMMANDS)};" in SCRIPT.read_text()
    assert os.access(SCRIPT, os.X_OK)

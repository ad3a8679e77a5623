# SPDX-License-Identifier: GPL-2.0-or-later
"""Which package has a program, by the distribution of this machine, and the command that installs it."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("packages.txt")
COMMANDS = {"debian": "apt-get install", "ubuntu": "apt-get install", "fedora": "dnf install"}
"""By family of distributions, in the order of the table's columns."""
VARIABLE = "SWITCHOVER_OS_RELEASE"
"""Names a file to be read instead of /etc/os-release, by the script ``switchover`` too."""
_OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
_NO_PACKAGE = {
    ("mmdebstrap", "fedora"): "none of Fedora's packages is known to have it: build the images in a Debian or Ubuntu, "
    "such as a container or a VM (switchover images build), and copy its ~/.cache/switchover/images to here",
    ("chromium", "ubuntu"): "Ubuntu has Chromium as a snap only, which these tests do not use: run them on Debian",
    ("chromedriver", "ubuntu"): "Ubuntu has Chromium as a snap only, which these tests do not use: run them on Debian",
    ("chromium", "fedora"): "Fedora's Chromium has other program names, which these tests do not use: "
    "run them on Debian",
    ("chromedriver", "fedora"): "Fedora's Chromium has other program names, which these tests do not use: "
    "run them on Debian",
}


@dataclass(frozen=True)
class Package:
    """A row of the table. ``names``: the package by family; a family that has none is not in it."""

    what: str
    when: str
    names: Mapping[str, str]


@dataclass(frozen=True)
class Distribution:
    """What a machine runs. ``family``: one of :data:`COMMANDS`, or empty: none that is known."""

    title: str
    family: str
    codename: str = ""
    id: str = ""


def parse_table(text: str) -> dict[str, Package]:
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {
        what: Package(what, when, {family: name for family, name in zip(COMMANDS, names, strict=True) if name != "-"})
        for what, when, *names in rows
    }


def parse_os_release(text: str) -> dict[str, str]:
    """os-release(5): assignments as a shell has them. What is no assignment is left out."""
    values = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        if not sign or name.startswith("#"):
            continue
        try:
            values[name] = "".join(shlex.split(value)[:1])
        except ValueError:  # a quote that does not end
            continue
    return values


def find_distribution(release: Mapping[str, str]) -> Distribution:
    """Its own name decides, then those that it says it is like, in their order."""
    words = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    family = next((word for word in words if word in COMMANDS), "")
    title = f"{release.get('NAME') or release.get('ID') or 'an unnamed system'} {release.get('VERSION_ID', '')}"
    return Distribution(title.strip(), family, release.get("VERSION_CODENAME", ""), release.get("ID", ""))


def read_distribution() -> Distribution:
    """Of this machine."""
    named = os.environ.get(VARIABLE)
    for path in (Path(named),) if named else _OS_RELEASE:
        try:
            return find_distribution(parse_os_release(path.read_text(errors="replace")))
        except OSError:
            continue
    return find_distribution({})


@cache
def read_table() -> dict[str, Package]:
    return parse_table(TABLE.read_text())


def list_wanted(*when: str) -> list[str]:
    """What the table has for some occasions, in its order."""
    return [what for what, package in read_table().items() if package.when in when]


def explain_install(*wanted: str, on: Distribution | None = None) -> str:
    """How to get what the table names, on this machine or ``on`` another.

    >>> explain_install("newuidmap", "socat", on=Distribution("Fedora Linux 42", "fedora"))
    'dnf install shadow-utils socat'
    """
    distribution = on or read_distribution()
    table, family = read_table(), distribution.family
    if not family:
        names = _join([table[what].names["debian"] for what in wanted])
        return f"install what has {', '.join(wanted)} on {distribution.title} (Debian's packages: {names})"
    names = _join([table[what].names[family] for what in wanted if family in table[what].names])
    install = [f"{COMMANDS[family]} {names}"] if names else []
    others = [_NO_PACKAGE[what, family] for what in wanted if family not in table[what].names]
    return "; ".join([*install, *dict.fromkeys(others)])


def _join(names: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(names))

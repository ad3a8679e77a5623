# SPDX-License-Identifier: GPL-2.0-or-later
"""The sources of the reference device against what else knows its knobs, counters and version."""

import re
from dataclasses import fields
from pathlib import Path

from switchover.devices.reference import OFFERS, Knobs

ROOT = Path(__file__).parents[3]
MODULE = ROOT / "images" / "modules" / "refdev"
PAGE = (ROOT / "docs" / "reference-device.md").read_text(encoding="utf-8")
KNOBS = (MODULE / "knobs.c").read_text(encoding="utf-8")


def list_documented(head: str) -> set[str]:
    """Names in the first column of the table that begins with ``head``."""
    table = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in row.split("|")[1].replace(",", " ").split()}


def test_every_knob_has_a_field_and_a_row() -> None:
    """What the module has, the harness can set, and the page explains."""
    names = set(re.findall(r"^REFDEV_(?:KNOB|SIZE)\((\w+)", KNOBS, re.M))
    assert names == {field.name for field in fields(Knobs)} == list_documented("knob")
    assert names == set(re.findall(r"&refdev_knob_(\w+)\.attr\.attr", KNOBS))


def test_flags_are_what_the_device_offers() -> None:
    """Only flags are refused while the device is open."""
    assert re.findall(r"^REFDEV_KNOB\((\w+), flag\b", KNOBS, re.M) == list(OFFERS)


def test_every_counter_has_a_row() -> None:
    """The page explains each."""
    text = (MODULE / "sysfs.c").read_text(encoding="utf-8")
    names = set(re.findall(r"^REFDEV_COUNTER\((\w+)", text, re.M))
    assert names == set(re.findall(r"&refdev_counter_(\w+)\.attr\.attr", text)) == list_documented("counter")


def test_dkms_has_the_version_of_the_module() -> None:
    """And builds all of its sources: each is an object of the Kbuild file."""
    found = re.findall(r'MODULE_VERSION\("(.+)"\)', (MODULE / "main.c").read_text(encoding="utf-8"))
    assert found == re.findall(r'^PACKAGE_VERSION="(.+)"', (MODULE / "dkms.conf").read_text(encoding="utf-8"), re.M)
    objects = set(re.findall(r"(\w+)\.o\b", (MODULE / "Kbuild").read_text(encoding="utf-8"))) - {"refdev"}
    assert objects == {path.stem for path in MODULE.glob("*.c")}

# SPDX-License-Identifier: GPL-2.0-or-later
"""Two QEMUs with a machine type, as people and programs read it."""

import json
from dataclasses import replace

from tests.unit.scenarios.test_compat import explain, known

from switchover.report.compat import list_compat, render_compat
from switchover.scenarios.compat import explain_compat


def test_the_answer_comes_first() -> None:
    """Who with what, what becomes of a device each way, and what decides: four lines, then tables."""
    text = render_compat(explain("qemu-10.0", "qemu-11.1"))
    answer, *tables = text.split("\n\n")
    first, there, back, last = answer.splitlines()
    assert first.startswith("qemu-10.0 (10.0.13) and qemu-11.1 (11.1.3) with pc-q35-10.0, the newest of 14")
    assert "qemu-10.0 → qemu-11.1: a VFIO device: failed (destination) by other-virtio-queue-size" in there
    assert "qemu-11.1 → qemu-10.0: a VFIO device: completed; 6 of 10 migrations complete" in back
    assert last.endswith("depends on migration.switchover-ack-legacy, version")
    assert [table.split("  ")[0].splitlines()[0] for table in tables][:2] == [
        "Migrations, as the oracle predicts",
        "pc-q35-10.0 sets",
    ]
    assert all(line == line.rstrip() for line in text.splitlines())


def test_each_rule_is_explained_once() -> None:
    """By a letter: the reason with its source, which the oracle's rule has."""
    text = render_compat(explain("qemu-10.0", "qemu-11.1"))
    assert text.count("virtio_add_queue") == 1
    assert "[a] other-virtio-queue-size: every queue" in text
    assert "failed (destination) [a]" in text


def test_what_a_binary_cannot_tell_is_said() -> None:
    """A question mark, who cannot and why; not a value."""
    text = render_compat(explain("qemu-7.2", "qemu-11.1"))
    assert "qemu-7.2 cannot tell what machine types set" in text.splitlines()[3]
    assert "? qemu-7.2 cannot tell: query-machines has no compat-props" in text
    (line,) = (line for line in text.splitlines() if "migration.zero-page-detection" in line)
    assert line.split()[-2:] == ["?", "legacy"]
    assert "no such property" in text


def test_settings_that_decide_name_the_rule_and_what_would_be() -> None:
    """By the number of the migration in the first table, and the direction."""
    lines = render_compat(explain("qemu-11.1", "qemu-11.1", "pc-q35-10.0")).splitlines()
    at = next(number for number, line in enumerate(lines) if "switchover-ack-legacy  " in line)
    assert "on" in lines[at]
    assert "→ decides" in lines[at + 1]
    assert "ack-with-pre-copy-at-destination-only; else completed" in lines[at + 1]


def test_long_names_have_letters_in_tables() -> None:
    """Two paths would make tables too wide to be read."""
    long = "/opt/some/where/bin/qemu-system-x86_64"
    one, other = known("qemu-10.0"), known("qemu-11.1")
    text = render_compat(explain_compat((replace(one, name=long), other)))
    assert f"{long} (A, 10.0.13) and qemu-11.1 (B, 11.1.3)" in text
    assert "A → B: a VFIO device" in text
    assert text.count(long) == 1


def test_an_alias_is_two_machine_types() -> None:
    """Both are named in the first line."""
    first = render_compat(explain("qemu-10.0", "qemu-11.1", "q35")).splitlines()[0]
    assert "q35, which is pc-q35-10.0 in the one and pc-q35-11.1 in the other" in first
    assert "q35 (pc-q35-10.0)" in render_compat(explain("qemu-10.0", "qemu-10.0", "q35")).splitlines()[0]


def test_programs_read_all_of_it() -> None:
    """JSON that keeps what cannot be told from what is not set, with outcomes and rules both ways."""
    told = json.loads(json.dumps(list_compat(explain("qemu-7.2", "qemu-10.0"))))
    assert [qemu["tells_compat"] for qemu in told["qemus"]] == [False, True]
    parts = {part["name"]: part for part in told["parts"]}
    assert parts["migration.zero-page-detection"]["values"] == [None, "legacy"]
    device = next(one for one in told["migrations"] if one["id"] == "device")
    assert (device["there"]["verdict"], device["there"]["rule"]) == ("blocked", "old-protocol-at-source")
    assert device["back"]["side"] == "destination"
    assert parts["VFIO migration protocol"]["decides"][0]["without"]["verdict"] == "completed"
    assert told["migrations"][3]["there"]["missing"] == ["qemu-7.2 has no migration capability 'switchover-ack'"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""What a QEMU binary can do, from its answers; binaries that answer more or less than today's."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scripted_host import ScriptedHost

from switchover.devices.abilities import (
    Ability,
    find_kept_abilities,
    parse_abilities,
    read_abilities,
    read_machines,
    render_questions,
)
from switchover.hosts.host import Completed
from switchover.record.errors import NotReady

SCHEMA = [
    {"name": "migrate-set-parameters", "meta-type": "command", "arg-type": "7", "ret-type": "0"},
    {"name": "7", "meta-type": "object", "members": [{"name": "mode", "type": "str"}, {"name": "new", "type": "str"}]},
    {"name": "query-vfio", "meta-type": "command"},
    {"name": "VFIO_MIGRATION", "meta-type": "event", "arg-type": "0"},
    {"name": "later", "meta-type": "kind-of-later"},
]
ANSWERS: dict[str, Any] = {
    "version": {"qemu": {"major": 10, "minor": 0, "micro": 13}, "package": "Debian", "later": 1},
    "machines": [{"name": "pc-q35-10.0", "alias": "q35", "cpu-max": 288}, {"name": "none"}],
    "machines with compat": [
        {
            "name": "pc-q35-8.0",
            "deprecated": True,
            "compat-props": [
                {"qom-type": "vfio-pci", "property": "x-allow-pre-copy", "value": "true"},
                {"qom-type": "e1000e", "property": "migrate-timadj", "value": "off"},
                {"qom-type": "vfio-pci", "property": "x-allow-pre-copy", "value": "false"},
            ],
        },
        {"name": "pc-q35-10.0", "alias": "q35", "compat-props": []},
    ],
    "vfio-pci": [{"name": "x-allow-pre-copy", "type": "bool", "default-value": True}, {"name": "later"}],
    "virtio-net-pci": [{"name": "host_uso", "type": "bool"}, {"name": "later"}],
    "devices": [{"name": "nvme", "parent": "pci-device"}, {"name": "virtio-rng-pci"}],
    "objects": [{"name": "rng-builtin"}, {"name": "later"}],
    "capabilities": [{"capability": "switchover-ack", "state": False}, {"capability": "later", "state": True}],
    "parameters": {"mode": "normal"},
    "accelerators": [{"name": "kvm-accel", "parent": "accel"}, {"name": "accel"}],
    "traces of vfio": [{"name": "vfio_save_block", "state": "disabled"}],
    "traces of downtime": [],
    "schema": SCHEMA,
}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is kept goes to a directory of these tests."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        yield directory


def render(answers: Mapping[str, Any], *, refused: Sequence[str] = ()) -> str:
    """The greeting, QEMU's answers, an event and the end, as they come on standard output."""
    lines: list[Mapping[str, Any]] = [{"QMP": {"version": {}, "capabilities": ["oob"]}}, {"return": {}}]
    for name, answer in answers.items():
        error = {"error": {"class": "GenericError", "desc": "no"}, "id": name}
        lines.append(error if name in refused else {"return": answer, "id": name})
    lines += [{"event": "SHUTDOWN", "data": {}, "timestamp": {}}, {"return": {}}]
    return "".join(json.dumps(line) + "\r\n" for line in lines)


def test_what_a_binary_knows() -> None:
    """Each kind of ability is found by its name, what a newer QEMU adds included."""
    qemu = parse_abilities("/q", "d", render(ANSWERS))
    assert qemu.version == "10.0.13"
    known = [
        (Ability.PROPERTY, "x-allow-pre-copy"),
        (Ability.PROPERTY, "later"),
        (Ability.NIC_PROPERTY, "host_uso"),
        (Ability.DEVICE, "nvme"),
        (Ability.DEVICE, "virtio-rng"),
        (Ability.DEVICE, "e1000"),
        (Ability.OBJECT, "rng-builtin"),
        (Ability.CAPABILITY, "switchover-ack"),
        (Ability.CAPABILITY, "later"),
        (Ability.PARAMETER, "mode"),
        (Ability.PARAMETER, "new"),
        (Ability.MACHINE, "q35"),
        (Ability.MACHINE, "pc-q35-8.0"),
        (Ability.COMMAND, "query-vfio"),
        (Ability.EVENT, "VFIO_MIGRATION"),
        (Ability.TRACE, "vfio_save_block"),
        (Ability.ACCELERATOR, "kvm"),
    ]
    assert qemu.missing(known) == []
    assert {kind for kind, _ in known} == set(Ability)
    assert (qemu.capabilities["later"], qemu.parameters) == (True, {"mode": "normal", "new": None})


@pytest.mark.parametrize("kind", Ability)
def test_what_is_missing_is_named(kind: Ability) -> None:
    """What a binary does not know is missing, by kind and name."""
    qemu = parse_abilities("/q", "d", render(ANSWERS))
    assert not qemu.can(kind, "x-none")
    (words,) = qemu.missing([(kind, "x-none")])
    assert str(kind) in words
    assert "'x-none'" in words


def test_compat_properties() -> None:
    """A machine type's value is its last one for VFIO and migration; no value is told from not knowing."""
    qemu = parse_abilities("/q", "d", render(ANSWERS))
    assert qemu.compat_value("pc-q35-8.0", "vfio-pci", "x-allow-pre-copy") == "false"
    assert qemu.compat_value("q35", "vfio-pci", "x-allow-pre-copy") is None
    found = qemu.find_machine("pc-q35-8.0")
    assert found is not None
    assert found.compat == (
        ("vfio-pci", "x-allow-pre-copy", "true"),
        ("vfio-pci", "x-allow-pre-copy", "false"),
    ), "of other devices' properties none is kept"


def test_a_binary_that_answers_less() -> None:
    """QEMU 7.2 has no compat-props, a build may have no vfio-pci and no trace backend: the rest is still known."""
    refused = ["machines with compat", "vfio-pci", "traces of vfio"]
    qemu = parse_abilities("/q", "d", render(ANSWERS, refused=refused))
    found = qemu.find_machine("q35")
    assert found is not None
    assert found.compat is None
    assert (qemu.vfio_pci, qemu.traces) == ({}, ())
    assert qemu.missing([(Ability.PROPERTY, "x-allow-pre-copy")]) == ["vfio-pci property 'x-allow-pre-copy'"]


def test_every_question_has_an_answer_here() -> None:
    """The answers above are those to what QEMU is asked."""
    asked = [json.loads(line) for line in render_questions().splitlines()]
    assert [line["id"] for line in asked if "id" in line] == list(ANSWERS)
    assert (asked[0], asked[-1]) == ({"execute": "qmp_capabilities"}, {"execute": "quit"})


@given(st.dictionaries(st.sampled_from(sorted(ANSWERS)), st.sampled_from([[], {}, [{}], None]), min_size=1))
def test_strange_answers_are_no_bug(changes: Mapping[str, Any]) -> None:
    """Whatever a binary answers, it is understood or told as a binary that does not answer as QEMU does."""
    digest = json.dumps(changes).replace(" ", "")  # another binary each time
    host = ScriptedHost(lambda argv: render(ANSWERS | dict(changes)) if "-qmp" in argv else f"/q\n{digest}  -\n")
    with contextlib.suppress(NotReady):
        read_abilities(host)


def test_asked_once(cache: Path) -> None:
    """A binary is asked once: again only when its digest is another, or what was kept is damaged."""
    digest = ["d1"]
    starts: list[Sequence[str]] = []

    def answer(argv: Sequence[str]) -> str:
        if "-qmp" not in argv:
            return f"/usr/bin/q\n{digest[0]}  -\n"
        starts.append(argv)
        return render(ANSWERS)

    host = ScriptedHost(answer)
    first = read_abilities(host)
    assert read_abilities(host) == first
    assert len(starts) == 1
    digest[0] = "d2"
    read_abilities(host)
    assert len(starts) == 2
    for path in cache.rglob("*.json"):
        path.write_text(path.read_text().replace('"capabilities"', '"incapabilities"'))
    assert read_abilities(host).can(Ability.CAPABILITY, "switchover-ack")
    assert len(starts) == 3


def test_all_that_machine_types_set(cache: Path) -> None:
    """Of whatever device, if that is asked for: once, and only that."""
    asked: list[bytes] = []

    class Host(ScriptedHost):
        def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
            asked.append(stdin)
            return super().run(argv, timeout=timeout, stdin=stdin, check=check)

    host = Host(lambda _argv: render(ANSWERS))
    machines = read_machines(host, "/usr/bin/q", "all")
    compat = {machine.name: machine.compat for machine in machines}["pc-q35-8.0"]
    assert compat is not None
    assert ("e1000e", "migrate-timadj", "off") in compat
    assert len(compat) == 3
    assert read_machines(host, "/usr/bin/q", "all") == machines
    (questions,) = asked
    assert b"query-machines" in questions
    assert b"query-qmp-schema" not in questions


def test_what_was_said_the_last_time(cache: Path) -> None:
    """A path with a digest in it stands for one binary, whichever host had it; of another path nothing is known."""
    path = "/opt/qemu/qemu-mine-0123/bin/q"
    host = ScriptedHost(lambda argv: render(ANSWERS) if "-qmp" in argv else f"{path}\nkept  -\n")
    first = read_abilities(host, "qemu-mine")
    (cache / "switchover" / "qemu-abilities" / "damaged.json").write_text("{")
    assert find_kept_abilities(path) == first
    assert find_kept_abilities("/opt/qemu/qemu-mine-4567/bin/q") is None

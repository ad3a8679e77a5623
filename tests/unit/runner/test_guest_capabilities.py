# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes need of a guest: found out once, told by name, and never taken for passed."""

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_answers
from tests.unit.checks.evidences import make_evidence, make_some
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.checks.table import CHECKS
from switchover.devices.reference import Knobs
from switchover.guests.capabilities import (
    LAB_CAPABILITIES,
    GuestCapabilities,
    Need,
    find_capabilities,
    parse_capabilities,
)
from switchover.guests.questions import GuestAnswers, ask_guest
from switchover.guests.spec import GuestSpec
from switchover.hosts.host import Completed, Host
from switchover.hosts.local import LocalHost
from switchover.migration.phases import Action, Phase
from switchover.probes.table import PROBES
from switchover.record.checks import CheckId
from switchover.record.errors import CommandFailed, HostLost, NotSupported
from switchover.record.record import VerdictName
from switchover.runner.guest_capabilities import (
    FAULTS,
    LOADS,
    WARM,
    list_not_checked,
    require_capabilities,
)
from switchover.runner.verdict import judge_error
from switchover.scenarios.case import Case, DeviceSpec, FunctionSpec, SideSpec, make_case, with_one_device, with_start
from switchover.scenarios.faults import Fault

SAID = [check for rule in CHECKS if rule.needs for check in rule.ids if check != CheckId.GUEST_CONSOLE]
OWN = GuestSpec(initramfs="/own.cpio")
NOTHING = GuestCapabilities(frozenset())
FULL = """\
boot_id
memory /
memory /dev/shm
memory /sys/fs/cgroup
memory /run
digest sha256sum
digest md5sum
console
driver
root
sender
sysrq
clock
pci
network
"""


class Shell:
    """A guest that answers every command alike."""

    name = "guest"

    def __init__(self, answer: str | BaseException) -> None:
        self.answer = answer
        self.asked: list[list[str]] = []

    def run(self, argv: list[str], **_: object) -> Completed:
        self.asked.append(argv)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return Completed(tuple(argv), 0, self.answer.encode(), b"")


def as_host(shell: Shell) -> Host:
    return cast(Host, shell)


def test_the_labs_guest_is_not_asked() -> None:
    """It is known to have everything: a thing it lacks is an error there, and no check that is left out."""
    shell = Shell("")
    assert find_capabilities(as_host(shell), GuestSpec()) is LAB_CAPABILITIES
    assert shell.asked == []
    assert LAB_CAPABILITIES.canary == "/canary"
    assert list_not_checked(Case("plain"), LAB_CAPABILITIES) == ()


def test_a_guest_is_asked_once() -> None:
    """One command finds all; of the directories in memory one is taken that is made for passing files."""
    shell = Shell(FULL)
    capabilities = find_capabilities(as_host(shell), OWN)
    assert len(shell.asked) == 1
    assert capabilities.has == frozenset(Need)
    assert (capabilities.canary, capabilities.digest) == ("/dev/shm/canary", "sha256sum")


@pytest.mark.parametrize("need", list(Need))
def test_what_is_not_answered_is_lacking(need: Need) -> None:
    """Without its line a need is lacking, and no other is."""
    text = "\n".join(line for line in FULL.splitlines() if line.split()[0] != need.name.lower())
    assert frozenset(Need) - parse_capabilities(text).has == {need}


def test_a_guest_without_a_shell_has_nothing() -> None:
    """A command that fails is a guest that lacks everything; a guest that is gone is another matter."""
    assert find_capabilities(as_host(Shell(CommandFailed("no sh"))), OWN) == NOTHING
    with pytest.raises(HostLost):
        find_capabilities(as_host(Shell(HostLost("gone"))), OWN)


@given(st.text())
def test_any_answer_is_read(text: str) -> None:
    """Whatever a guest prints: what has no value of its own is not taken for there."""
    capabilities = parse_capabilities(text)
    assert (Need.MEMORY in capabilities.has) is bool(capabilities.directory)
    assert (Need.DIGEST in capabilities.has) is bool(capabilities.digest)


def test_the_command_is_one_for_a_plain_shell() -> None:
    """It runs through in sh on a machine that has none of our things, and finds what every Linux has."""
    shell = Shell("")
    find_capabilities(as_host(shell), OWN)
    done = LocalHost().run(shell.asked[0])
    assert done.stderr == b""
    capabilities = parse_capabilities(done.text)
    assert {Need.BOOT_ID, Need.DIGEST, Need.CLOCK} <= capabilities.has
    assert Need.DRIVER not in capabilities.has


def test_a_guest_with_nothing_is_told_all_that_was_not_checked() -> None:
    """Each check of every probe is there once, with what it lacks; and so are those that a function cannot answer."""
    both = make_case("both", SideSpec(devices=(DeviceSpec(), FunctionSpec("function", pci="0000:01:00.0"))))
    told = list_not_checked(both, NOTHING)
    rules = [rule for rule in CHECKS if rule.needs and rule.wanted(both)]
    ids = [check for rule in rules for check in rule.ids]
    by_others = {check for rule in CHECKS for check in (*rule.only_reference, *rule.only_known)} - set(ids)
    probes = [check for probe in PROBES for check in probe.checks]
    assert [entry.id for entry in told if entry.id not in by_others] == [*ids, *probes]
    assert {entry.id for entry in told if not entry.lacking} == by_others
    assert all(entry.lacking or entry.reason for entry in told)
    assert all(entry.check == entry.id.claim for entry in told)
    plain = {entry.id for entry in list_not_checked(Case("plain"), NOTHING)}
    silent = {entry.id for entry in list_not_checked(Case("plain", heartbeat_us=0), NOTHING)}
    of_functions = {CheckId.GUEST_PCI_FUNCTIONS, CheckId.GUEST_PCI_DRIVERS}
    assert {entry.id for entry in told} - plain == of_functions | by_others
    assert plain - silent == {CheckId.DOWNTIME_OUTSIDE}


def test_checks_made_and_checks_told_add_up() -> None:
    """Of two answers that are compared: what is not among the checks is among those that were not made."""
    for missing in (Need.BOOT_ID, Need.DIGEST, Need.MEMORY, Need.DRIVER, Need.ROOT):
        capabilities = LAB_CAPABILITIES.without(missing)
        whole = make_answers()
        part = replace(
            whole,
            boot_id=whole.boot_id if Need.BOOT_ID in capabilities.has else "",
            canary=whole.canary if capabilities.has_canary else "",
            devices=whole.devices if capabilities.has_device else (),
        )
        made = {check.id for check in make_some(make_evidence(part, part), *SAID)}
        every = {check.id for check in make_some(make_evidence(whole, whole), *SAID)}
        told = {entry.id for entry in list_not_checked(Case("plain"), capabilities)}
        assert every - made == every & told


def test_asking_without_means() -> None:
    """A guest is not asked for what it cannot tell."""

    def ask(capabilities: GuestCapabilities) -> tuple[GuestAnswers, list[str]]:
        asked: list[str] = []

        def answer(name: str, script: str) -> str:
            asked.append(name)
            return {"boot": "3f1c\n", "canary": "d41d8c  -\n", "macs": "52:54:00:53:67:01\n"}[name]

        host = ScriptedHost(lambda argv: answer_questions(argv[-1], answer))
        return ask_guest(host, 1, capabilities).answers, asked

    answers, asked = ask(LAB_CAPABILITIES.without(Need.DRIVER))
    assert (answers.boot_id, answers.canary, answers.devices) == ("3f1c", "d41d8c", ())
    assert asked == ["boot", "canary", "macs"]
    nothing = Shell(AssertionError("asked"))
    assert ask_guest(as_host(nothing), 1, NOTHING).answers.boot_id == ""
    answers, asked = ask(LAB_CAPABILITIES.without(Need.DRIVER, Need.BOOT_ID))
    assert (answers.boot_id, answers.canary) == ("", "d41d8c")
    assert asked == ["canary", "macs"]


LOADED = {"dma_pages_per_sec": Knobs(dma_pages_per_sec=1), "irq_rates": Knobs(irq_rates=(1,))}


@pytest.mark.parametrize("knob", list(LOADS))
def test_a_load_is_not_left_out(knob: str) -> None:
    """A case with a load that the guest cannot take part in is not supported, by name; with another guest it is."""
    case = make_case("x", with_one_device(LOADED[knob]))
    require_capabilities(case, LAB_CAPABILITIES)
    with pytest.raises(NotSupported, match=rf"the driver refdev_guest.* \(for the load {knob}\)"):
        require_capabilities(case, LAB_CAPABILITIES.without(Need.DRIVER))


def test_a_fault_in_the_guest_is_not_left_out() -> None:
    """A guest that cannot be panicked makes the case not-supported; other faults need nothing of it."""
    panic = replace(Case("x"), faults=(Fault(Action.PANIC_GUEST, Phase.ACTIVE),))
    require_capabilities(panic, LAB_CAPABILITIES)
    with pytest.raises(NotSupported, match=r"/proc/sysrq-trigger, writable \(for the fault panic guest\)") as caught:
        require_capabilities(panic, NOTHING)
    assert judge_error(caught.value, "migrate").name is VerdictName.NOT_SUPPORTED
    for action in set(Action) - FAULTS.keys():
        require_capabilities(replace(Case("x"), faults=(Fault(action, Phase.ACTIVE),)), NOTHING)


def test_a_warm_guest_has_its_clock_set() -> None:
    """A guest whose clock cannot be set is not restored silently with an old one."""
    case = with_start(Case("x"), "warm")
    require_capabilities(case, LAB_CAPABILITIES)
    for need in WARM:
        with pytest.raises(NotSupported, match="for a warm guest"):
            require_capabilities(case, LAB_CAPABILITIES.without(need))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults: each does what it is called, to the side it is called after, and links are always restored."""

import contextlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.fakes import FaultyHost

from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.migration.phases import Action, NotMade, Phase
from switchover.record.errors import CommandFailed, GuestSilent, HostLost, NotReady
from switchover.runner.interventions import Link, Scene, make_intervention, start_link
from switchover.runner.side import Side
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Fault

KEYS = GuestKeys("", "", "", "")
CASE = Case("case")
RESTORED = "tc qdisc del dev link0 root"


def make_host(fail_at: int = -1, error: Exception | None = None) -> FaultyHost:
    def label(_: str, argument: str) -> str:
        # what the journal's undo runs: to restore, then to look
        return RESTORED if RESTORED in argument and "tc qdisc show" in argument else argument

    return FaultyHost(label, "", fail_at=fail_at, error=error or CommandFailed("no tc"))


def make_guest(side: str, log: list[str], shell: Any = None, ended: int | None = None) -> QemuGuest:
    def open_ssh(keys: GuestKeys) -> Any:
        log.append(f"log in to {side}")
        if isinstance(shell, Exception):
            raise shell
        return contextlib.nullcontext(shell)

    return cast(
        QemuGuest,
        SimpleNamespace(
            pause=lambda: log.append(f"stop on {side}"),
            cancel_migration=lambda: log.append(f"cancel on {side}"),
            kill=lambda: log.append(f"kill {side}"),
            exit_status=lambda: ended,
            label=f"the {side} QEMU",
            open_ssh=open_ssh,
        ),
    )


def make_scene(log: list[str], *hosts: FaultyHost, shell: Any = None, ended: str = "") -> Scene:
    source, destination = (
        cast(Side, SimpleNamespace(guest=make_guest(name, log, shell, ended=-11 if name == ended else None)))
        for name in ("source", "destination")
    )
    links = tuple(Link(host, "link0") for host in hosts)
    return Scene(source, destination, links, KEYS, FaultyHost(lambda _, argument: argument, ""))


def act(fault: Fault, *hosts: FaultyHost, shell: Any = None) -> list[str]:
    log: list[str] = []
    intervention = make_intervention(fault, make_scene(log, *hosts, shell=shell), CASE)
    assert (intervention.name, intervention.phase) == (fault.action, fault.phase)
    assert log == [], "nothing is done before its phase"
    intervention.act()
    return log


@pytest.mark.parametrize(
    ("action", "log"),
    [
        (Action.CANCEL, ["cancel on source"]),
        (Action.KILL_SOURCE, ["kill source"]),
        (Action.KILL_DESTINATION, ["kill destination"]),
        (Action.CUT_LINK, []),
        (Action.SLOW_LINK, []),
        (Action.PAUSE_GUEST, ["stop on source"]),
    ],
)
def test_each_action(action: Action, log: list[str]) -> None:
    """An action is done to its side and to no other."""
    assert act(Fault(action, Phase.ACTIVE), make_host()) == log


@pytest.mark.parametrize(
    ("fault", "discipline"),
    [
        (Fault(Action.CUT_LINK, Phase.ACTIVE), "netem loss 100%"),
        (Fault(Action.SLOW_LINK, Phase.ACTIVE, rate_bit=123), "netem rate 123bit"),
    ],
)
def test_links_on_both_ends(fault: Fault, discipline: str) -> None:
    """A link is cut or slowed at both of its ends."""
    hosts = make_host(), make_host()
    act(fault, *hosts)
    for host in hosts:
        assert host.log == [f"tc qdisc replace dev link0 root {discipline}"]


def test_a_panic() -> None:
    """The guest on the source panics, and its SSH dies with it, which is no error."""
    shell = make_host(fail_at=0, error=HostLost("the connection broke"))
    assert act(Fault(Action.PANIC_GUEST, Phase.ACTIVE), shell=shell) == ["log in to source"]
    assert "sysrq-trigger" in shell.log[0]
    with pytest.raises(NotMade, match="cannot be told to panic"):
        act(Fault(Action.PANIC_GUEST, Phase.ACTIVE), shell=GuestSilent("silent"))


@pytest.mark.parametrize(("action", "side"), [(Action.KILL_SOURCE, "source"), (Action.KILL_DESTINATION, "destination")])
def test_a_qemu_that_ended_before_is_not_killed(action: Action, side: str) -> None:
    """Whatever ended it, the fault did not."""
    log: list[str] = []
    intervention = make_intervention(Fault(action, Phase.ACTIVE), make_scene(log, ended=side), CASE)
    with pytest.raises(NotMade, match=f"the {side} QEMU had ended with exit status -11"):
        intervention.act()
    assert log == []


@pytest.mark.parametrize(("dropped", "made"), [(3, True), (0, False)])
def test_a_link_that_comes_back(dropped: int, made: bool) -> None:
    """At its end a link has its own discipline again at both ends; one that lost no packet was not cut."""

    class Hosts(FaultyHost):
        def run(self, argv: Any, **others: Any) -> Any:
            shown = super().run(argv, **others)
            return SimpleNamespace(text=f" Sent 0 bytes (dropped {dropped}, overlimits 0)") if "-s" in argv else shown

    hosts = [Hosts(lambda _, argument: argument, "") for _ in range(2)]
    fault = Fault(Action.CUT_LINK, Phase.ACTIVE, seconds=2)
    intervention = make_intervention(fault, make_scene([], *hosts), CASE)
    assert intervention.seconds == 2
    with contextlib.nullcontext() if made else pytest.raises(NotMade, match="No packet was lost"):
        intervention.end()
    assert [host.log for host in hosts] == [["tc -s qdisc show dev link0 root", RESTORED]] * 2


@pytest.mark.parametrize("error", [None, ValueError("in use"), KeyboardInterrupt()])
def test_a_link_is_restored_whatever_happens(error: BaseException | None) -> None:
    """At the end of its block a link has its own discipline again, also when the block fails or is interrupted."""
    host = make_host()
    with contextlib.suppress(ValueError, KeyboardInterrupt), start_link(host, "link0") as link:
        link.disturb("netem", "loss", "100%")
        if error:
            raise error
    assert RESTORED in host.log[-1]


def test_a_link_that_could_not_be_disturbed_is_restored() -> None:
    """A command that failed may have done its work: the link is restored, and the failure passes."""
    host = make_host(fail_at=0)
    with pytest.raises(CommandFailed, match="no tc"), start_link(host, "link0") as link:
        link.disturb("netem")
    assert RESTORED in host.log[-1]


@pytest.mark.parametrize("error", [CommandFailed("it has its own"), HostLost("gone")])
def test_restoring_what_is_in_order_is_no_error(error: Exception) -> None:
    """A link that nobody disturbed has nothing to restore, and one of a host that is gone neither."""
    host = make_host(fail_at=0, error=error)
    with start_link(host, "link0"):
        pass
    assert len(host.log) == 1
    assert RESTORED in host.log[0]


def test_the_error_of_the_block_is_the_one_that_passes() -> None:
    """A link that cannot be restored does not hide why its block failed."""
    host = make_host(fail_at=0)
    with pytest.raises(ValueError, match="in use"), start_link(host, "link0"):
        raise ValueError("in use")


def test_an_interface_that_is_none_of_ours() -> None:
    """Without a named interface nothing is disturbed."""
    host = make_host()
    with pytest.raises(NotReady, match="need a network interface"), start_link(host, ""):
        pytest.fail("there is no link")
    assert host.log == []

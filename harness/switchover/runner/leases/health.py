# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a host is fit for the next case. Looking (one command) and judging (pure) are apart.

What is judged: QEMUs of ours that still run, where none should while nobody has a guest there; devices that are bound
to another driver than at the beginning of the run; and a kernel that has complained of itself (oops, BUG) since its
boot, or since the last look. Other leftovers are the journals' matter (:mod:`switchover.lab.release`).
"""

import re
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from switchover.hosts.host import Host
from switchover.hosts.questions import ask_together
from switchover.record.errors import NotReady

_DIED = 1 << 7
"""TAINT_DIE of include/linux/panic.h: there was an oops or a BUG since boot, though the log may have lost it."""
# the words are split so that the command that asks does not find itself; a zombie has no arguments
_PROCESSES = r"""
grep -ls -e '/tmp/switch[o]ver-' -e 'guest=switch[o]ver-' /proc/[0-9]*/cmdline | while read -r file; do
    pid=${file#/proc/}; echo "${pid%/cmdline} $(tr '\0' ' ' <$file)"
done 2>/dev/null | grep 'q[e]mu' | grep -v 'switch[o]ver-lab-'
true
"""
_COMPLAINT = re.compile(
    r"\bBUG: |\bOops: |kernel BUG at |general protection fault|Unable to handle kernel|Internal error: "
)
_SLOW = re.compile(r"lockup")
"""A host that is slow says that, and a lab's is."""
_LOG = "dmesg | grep -e 'BUG' -e 'Oops' -e 'general protection' -e 'Unable to handle' -e 'Internal error'; true"
_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True)
class HealthLook:
    """What was seen of a host. ``drivers``: by PCI address, driver and override; empty words: none."""

    boot: str
    """boot_id of its kernel"""
    died: bool = False
    """Whether its kernel says that there was an oops since its boot."""
    processes: Mapping[int, str] = field(default_factory=dict)
    """QEMUs of ours, with their arguments."""
    drivers: Mapping[str, tuple[str, str] | None] = field(default_factory=dict)
    """None: there is no such function."""
    complaints: tuple[str, ...] = ()
    """Lines of the kernel log, with their times."""


def look_at(host: Host, devices: Sequence[str] = ()) -> HealthLook:
    """``devices``: PCI addresses with their domain. :raises HostLost: it does not answer"""
    wrong = [address for address in devices if not _ADDRESS.fullmatch(address)]
    assert not wrong, f"not PCI addresses: {wrong}"
    device = "\n".join(
        f"d=/sys/bus/pci/devices/{address}; [ -d $d ] && "
        f'echo {address} "$(basename "$(readlink $d/driver)" 2>/dev/null)" "$(cat $d/driver_override)"'
        for address in devices
    )
    answers = ask_together(
        host,
        {
            "boot": "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/tainted",
            "processes": _PROCESSES,
            "devices": f"{device}\ntrue",
            "log": _LOG,
        },
    )
    return parse_look({name: answer.text for name, answer in answers.items()}, devices)


def parse_look(answers: Mapping[str, str], devices: Sequence[str]) -> HealthLook:
    """From the output of the questions. :raises NotReady: the kernel does not say which boot it is"""
    words = answers["boot"].split()
    if len(words) != 2 or not words[1].isdigit():
        raise NotReady("A host did not answer the questions about its kernel's health.", why=answers["boot"][-300:])
    processes = re.findall(r"^(\d+) (.*)$", answers["processes"], re.MULTILINE)
    drivers: dict[str, tuple[str, str] | None] = dict.fromkeys(devices)
    for line in answers["devices"].splitlines():
        address, _, rest = line.partition(" ")
        if address in drivers:
            driver, _, override = rest.partition(" ")
            drivers[address] = (driver, override.replace("(null)", "").strip())
    complaints = [line for line in answers["log"].splitlines() if _COMPLAINT.search(line) and not _SLOW.search(line)]
    return HealthLook(
        boot=words[0],
        died=bool(int(words[1]) & _DIED),
        processes={int(pid): arguments for pid, arguments in processes},
        drivers=drivers,
        complaints=tuple(complaints),
    )


def judge(
    look: HealthLook, first: HealthLook | None = None, last: HealthLook | None = None, known: Collection[int] = ()
) -> str:
    """Why a host is not fit for the next case; empty: it is.

    ``first``, ``last``: earlier looks, at the beginning of the run and before the last case; None: there was none.
    ``known``: processes that should be there, such as those of guests that cases share.
    """
    for pid, arguments in look.processes.items():
        if pid not in known:
            return f"a QEMU of ours still runs there, process {pid}: {arguments[:120]}"
    for address, now in look.drivers.items():
        if now is None:
            return (
                f"{address} is not there any more"
                if first and first.drivers.get(address)
                else f"{address} is not there"
            )
        before = first.drivers.get(address) if first else None
        if before is not None and before != now:
            return f"{address} is bound to {_describe(now)}, and was to {_describe(before)} when the run began"
    seen = last.complaints if last and last.boot == look.boot else ()
    new = [line for line in look.complaints if line not in seen]
    if new:
        return f"its kernel complains: {new[0].strip()}"
    if look.died and not (last and last.boot == look.boot and last.died):
        return "its kernel died once since its boot, says /proc/sys/kernel/tainted; it has to be booted again"
    return ""


def _describe(driver: tuple[str, str]) -> str:
    name, override = driver
    return f"{name or 'no driver'}{f' (kept for {override})' if override else ''}"


def find_ailment(host: Host, devices: Sequence[str] = (), known: Collection[int] = ()) -> str:
    """Why a host is not fit for a case, of which nothing is known from before; empty: it is."""
    return judge(look_at(host, devices), known=known)


class HealthWatch:
    """Looks at hosts again and again in a run, and remembers what it saw; from several threads."""

    def __init__(self) -> None:
        self._first: dict[str, HealthLook] = {}
        self._last: dict[str, HealthLook] = {}
        self._lock = threading.Lock()

    def find_ailment(self, host: Host, devices: Sequence[str] = (), known: Collection[int] = ()) -> str:
        """Why a host is not fit for the next case; empty: it is. One that does not answer is not: nothing is raised."""
        try:
            look = look_at(host, devices)
        except NotReady as error:
            return str(error)
        with self._lock:
            first, last = self._first.get(host.name), self._last.get(host.name)
            self._last[host.name] = look
            drivers = {**look.drivers, **(first.drivers if first else {})}
            self._first[host.name] = HealthLook(look.boot, drivers=drivers)
        return judge(look, first, last, known)

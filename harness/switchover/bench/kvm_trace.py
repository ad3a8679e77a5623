# SPDX-License-Identifier: GPL-2.0-or-later
"""What the one CPU of a lab host does from a guest's start to its first heartbeat, by the kernel's own trace.

A lab host under TCG has one CPU, so the time is divided without rest: what ran is told by ``sched_switch``, and within
a vCPU's thread by ``kvm_entry`` and ``kvm_exit``. A heartbeat that leaves is an
event too (``net_dev_start_xmit``: by that NIC nothing else leaves). The trace's clock is ``tai``, which is the host's
real-time clock where nobody has told its kernel of leap seconds: nobody does on a lab host.
"""

import contextlib
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from switchover.hosts.host import Host
from switchover.irq.tracing import PREFIX, change_host, require_tracefs

OUTLET = "observe0"
"""A lab host's NIC by which heartbeats leave (images/labhost/rc)."""
FAULTS = "page faults"
"""Exits of pages of the guest's memory that have no nested mapping yet."""
PARTS = ("guest", FAULTS, "MMIO", "other exits", "other threads of QEMU", "other tasks", "idle")
"""``guest``: between an entry and the next exit. The next three: from an exit to the next entry, while the vCPU's
thread has the CPU, be it in the kernel or in QEMU."""
_MMIO = ("kvm_mmio", "kvm_fast_mmio")
_EVENTS = ("kvm/kvm_entry", "kvm/kvm_exit", "kvm/kvm_mmio", "kvm/kvm_fast_mmio", "sched/sched_switch")
_BUFFER_KIB = 32 * 1024
_LINE = re.compile(r"^\s*(?P<comm>.*)-(?P<tid>\d+)\s+\[\d+\]\s.*?(?P<at>\d+\.\d+): (?P<name>\w+):(?P<text>.*)$")
_NEXT = re.compile(r"==> next_comm=(?P<comm>.*) next_pid=(?P<tid>\d+) ")
_REASON = re.compile(r"\breason (\w+)")

_SET_UP = r"""
mkdir "$1" && cd "$1" || exit 1
echo 0 >tracing_on
echo tai >trace_clock
echo "$2" >buffer_size_kb
echo "name == \"$3\"" >events/net/net_dev_start_xmit/filter
shift 3
for event in net/net_dev_start_xmit "$@"; do echo 1 >"events/$event/enable" || exit 1; done
echo 1 >tracing_on
"""
_REMOVE = '[ -d "$1" ] || exit 0; echo 0 >"$1/tracing_on"; rmdir "$1"'
_READ = 'echo 0 >"$1/tracing_on"; cat "$1"/per_cpu/cpu*/stats | grep -E "overrun|dropped"; cat "$1/trace"'


@dataclass(frozen=True)
class KvmEvent:
    """An event of the trace. ``tid``: who had the CPU; of a switch ``to`` and ``comm`` are who gets it, and of an exit
    ``text`` is its reason, as KVM calls it.
    """

    at_s: float
    name: str
    tid: int
    text: str = ""
    to: int = 0


@dataclass(frozen=True)
class Window:
    """From the first entry into a guest that stood still to its first heartbeat after that.

    ``begin_s`` and ``end_s``: by the real-time clock of the host, since the epoch; ``stood_s``: from its last exit
    before, None where there is none in the trace; ``parts``: seconds by the names of
    :data:`PARTS`, which add up to ``seconds``; ``exits``: by KVM's reasons, ``npf`` those of :data:`FAULTS` only;
    ``tasks``: seconds of other tasks, by their names.
    """

    begin_s: float
    end_s: float
    stood_s: float | None
    parts: dict[str, float]
    exits: Counter[str]
    tasks: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s


@contextlib.contextmanager
def start_kvm_trace(host: Host) -> Iterator[str]:
    """Tracing on, for a ``with`` block; yields the instance, for :func:`read_kvm_trace`.

    :raises NotSupported: the host cannot be traced; :raises CommandFailed: its kernel does not trace KVM
    """
    path = f"{require_tracefs(host).root}/instances/{PREFIX}{secrets.token_hex(4)}"
    undo, gone = ["sh", "-c", _REMOVE, "sh", path], ["test", "!", "-e", path]
    with change_host(host, f"trace instance {path}", undo, gone):
        host.run(["sh", "-c", _SET_UP, "sh", path, str(_BUFFER_KIB), OUTLET, *_EVENTS], timeout=60)
        yield path


def read_kvm_trace(host: Host, instance: str) -> str:
    """End the tracing and return its text, behind what was lost of it."""
    return host.run(["sh", "-c", _READ, "sh", instance], timeout=300).text


def parse_kvm_trace(text: str) -> list[KvmEvent]:
    """Events as they are told, of one CPU in order of time; lines that are none are left out. Pure.

    :raises ValueError: events were lost
    """
    if lost := [line for line in text.splitlines() if re.fullmatch(r"(.*overrun|dropped.*): [1-9]\d*", line)]:
        raise ValueError(f"events were lost: {'; '.join(lost)}")
    found = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        said, to = "", 0
        if match["name"] == "sched_switch":
            after = _NEXT.search(match["text"])
            if after is None:
                continue
            said, to = after["comm"], int(after["tid"])
        elif match["name"] == "kvm_exit":
            reason = _REASON.search(match["text"])
            said = reason[1] if reason else "?"
        found.append(KvmEvent(float(match["at"]), match["name"], int(match["tid"]), said, to))
    return found


def find_window(events: Sequence[KvmEvent], vcpus: Collection[int], *, arrived: bool) -> Window | None:
    """The window of a guest with these threads, in events of one CPU; None: no heartbeat left after an entry. Pure.

    ``arrived``: it came by a migration, so that its first entry is its start; else that is the end of the longest time
    without an entry. A heartbeat that waited in the guest's NIC leaves before the guest runs, and is not the first one.
    """
    mine = [event for event in events if event.tid in vcpus and event.name in ("kvm_entry", "kvm_exit")]
    starts = [event.at_s for event in mine if event.name == "kvm_entry"][:1]
    stood: float | None = None
    if not arrived:
        pauses = [
            (later.at_s - earlier.at_s, later.at_s)
            for earlier, later in pairwise(mine)
            if (earlier.name, later.name) == ("kvm_exit", "kvm_entry")
        ]
        stood, *starts = max(pauses, default=(None,))
    sent = [event.at_s for event in events if event.name == "net_dev_start_xmit" and starts and event.at_s > starts[0]]
    if not sent:
        return None
    parts, exits, tasks = _divide(events, vcpus, starts[0], sent[0])
    return Window(starts[0], sent[0], stood, parts, exits, tasks)


@dataclass
class _Exit:
    """A vCPU outside the guest. ``code``: why, as KVM calls it; ``seconds``: for which its thread had the CPU within
    the window.
    """

    code: str = "?"
    is_mmio: bool = False
    is_counted: bool = False
    seconds: float = 0.0

    @property
    def part(self) -> str:
        if self.code != "npf":
            return "other exits"
        return "MMIO" if self.is_mmio else FAULTS


def _divide(
    events: Sequence[KvmEvent], vcpus: Collection[int], begin_s: float, end_s: float
) -> tuple[dict[str, float], Counter[str], dict[str, float]]:
    parts, tasks = dict.fromkeys(PARTS, 0.0), dict[str, float]()
    exits = Counter[str]()
    outside = {tid: _Exit() for tid in vcpus}
    """What each vCPU is about that is not in the guest."""
    names: dict[int, str] = {}

    def leave(tid: int) -> None:
        """An exit is over; what it was about is known only now."""
        if done := outside.pop(tid, None):
            parts[done.part] += done.seconds
            exits["mmio" if done.part == "MMIO" else done.code] += done.is_counted

    for event, following in pairwise(events):
        owner = event.to if event.name == "sched_switch" else event.tid
        if event.name == "sched_switch":
            names[event.to] = event.text
        elif event.name == "kvm_entry":
            leave(owner)
        elif event.name == "kvm_exit" and owner in vcpus:
            outside[owner] = _Exit(event.text, is_counted=begin_s <= event.at_s <= end_s)
        elif event.name in _MMIO and owner in outside:
            outside[owner].is_mmio = True
        seconds = min(following.at_s, end_s) - max(event.at_s, begin_s)
        if seconds <= 0:
            continue
        if owner in outside:
            outside[owner].seconds += seconds
        elif owner in vcpus:
            parts["guest"] += seconds
        elif owner == 0:
            parts["idle"] += seconds
        elif (name := names.get(owner, "?")).startswith("qemu-"):
            parts["other threads of QEMU"] += seconds
        else:
            parts["other tasks"] += seconds
            tasks[name] = tasks.get(name, 0.0) + seconds
    for tid in list(outside):
        leave(tid)
    return parts, exits, tasks

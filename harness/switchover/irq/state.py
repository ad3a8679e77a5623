# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts and their threads as /proc and /sys tell of them: masks, chips, counters, policies.

Read by one shell script with nothing but cat, so that any guest can answer it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from switchover.hosts.host import Host
from switchover.irq.secondary import find_secondary

POLICIES = {0: "OTHER", 1: "FIFO", 2: "RR", 3: "BATCH", 5: "IDLE", 6: "DEADLINE", 7: "EXT"}
"""include/uapi/linux/sched.h"""
_NO_SETAFFINITY = 0x04000000
"""PF_NO_SETAFFINITY (include/linux/sched.h): nobody may set the thread's affinity; IRQ threads have it from 6.19 on."""
_IRQ_THREAD = re.compile(r"irq/(\d+)-")

_COUNTERS = """
counters() {
    echo "= interrupts"; cat /proc/interrupts
    for pid; do
        if read -r line <"/proc/$pid/schedstat"; then echo "= runs $pid $line"; fi
    done
}
"""
# builtins where they do: a process costs tens of milliseconds in an emulated guest
_STATE = (
    _COUNTERS
    + r"""
exec 2>/dev/null
tell() { read -r line <"$3" || line=; echo "= $1 $2 $line"; }
read -r line </sys/devices/system/cpu/online && echo "= online $line"
read -r line </proc/cmdline && echo "= cmdline $line"
echo "= kernel $(uname -rv)"
set --
for path in /proc/[0-9]*; do
    read -r comm <"$path/comm" || continue
    case $comm in irq/[0-9]*)
        pid=${path#/proc/}
        set -- "$@" "$pid"
        read -r line <"$path/stat" && echo "= thread $line"
        while read -r name line; do
            case $name in Cpus_allowed_list:) echo "= cpus $pid $line" ;; esac
        done <"$path/status" ;;
    esac
done
ls -l /proc/irq/[0-9]*/smp_affinity_list | while read -r mode line; do
    case $mode in *w*) ;; *) line=${line##*/irq/}; echo "= fixed ${line%%/*} yes" ;; esac
done
for path in /proc/irq/[0-9]*; do
    number=${path##*/}
    tell asked "$number" "$path/smp_affinity_list"
    tell effective "$number" "$path/effective_affinity_list"
    tell actions "$number" "/sys/kernel/irq/$number/actions"
    tell chip "$number" "/sys/kernel/irq/$number/chip_name"
done
counters "$@"
"""
)


@dataclass(frozen=True)
class Interrupt:
    """An interrupt. ``counts``: by CPU, those that are online. Masks are lists of CPUs, as ``0-2,5``."""

    number: int
    description: str
    """what /proc/interrupts says behind the counters"""
    counts: dict[int, int]
    asked: str = ""
    """smp_affinity_list"""
    effective: str = ""
    """effective_affinity_list; empty where the chip sets none"""
    actions: tuple[str, ...] = ()
    """names of its handlers; more than one: it is shared"""
    chip: str = ""
    fixed: bool = False
    """nobody may set its mask, as the kernel says by the mode of its file: its driver spread it over the CPUs
    (managed), or its chip sets none; False also where the kernel does not say"""

    @property
    def why_fixed(self) -> str:
        """In words; a chip that can set a mask has an effective one (kernel/irq/manage.c, irq_can_set_affinity_usr)."""
        return "managed by its driver" if self.effective else "its chip sets no mask"


@dataclass(frozen=True)
class IrqThread:
    """The thread of an interrupt's handler."""

    pid: int
    name: str
    irq: int
    secondary: bool
    """it is woken by the first thread, not by the hard handler"""
    cpus: str
    """Cpus_allowed_list: where it may run"""
    policy: str
    priority: int
    cpu: int
    """where it ran last"""
    settable: bool
    """its affinity may be set from outside"""


@dataclass(frozen=True)
class Counters:
    """What can be known without a trace. ``interrupts``: by number and CPU; ``runs``: how often a thread came to run
    (the third number of /proc/PID/schedstat), by pid, where the kernel counts that.
    """

    interrupts: dict[int, dict[int, int]]
    runs: dict[int, int]


@dataclass(frozen=True)
class IrqState:
    """All interrupts and IRQ threads of a machine at a moment."""

    kernel: str
    cmdline: str
    online: str
    interrupts: tuple[Interrupt, ...]
    threads: tuple[IrqThread, ...]
    counters: Counters

    def threads_of(self, irq: int) -> tuple[IrqThread, ...]:
        return tuple(thread for thread in self.threads if thread.irq == irq)

    def find_interrupt(self, number: int) -> Interrupt | None:
        return next((interrupt for interrupt in self.interrupts if interrupt.number == number), None)

    @property
    def threaded(self) -> tuple[Interrupt, ...]:
        """Interrupts with a thread that a hard handler wakes."""
        numbers = {thread.irq for thread in self.threads if not thread.secondary}
        return tuple(interrupt for interrupt in self.interrupts if interrupt.number in numbers)


def read_state(host: Host) -> IrqState:
    """:raises HostLost: the host does not answer"""
    return parse_state(host.run(["sh", "-c", _STATE], timeout=60).text)


def counters_script(pids: Iterable[int]) -> str:
    """Lines for a shell that print what :func:`parse_counters` reads."""
    return f"{_COUNTERS}\ncounters {' '.join(str(pid) for pid in pids)} 2>/dev/null\n"


def parse_state(text: str) -> IrqState:
    """Lines ``= NAME VALUE``, and /proc/interrupts. Never raises: what is not told is empty."""
    values: dict[str, str] = {}
    by_irq: dict[str, dict[int, str]] = {"asked": {}, "effective": {}, "actions": {}, "chip": {}, "fixed": {}}
    stats, cpus = [], {}
    for line in text.splitlines():
        match line.split(" ", 2):
            case ["=", "thread", rest]:
                stats.append(rest)
            case ["=", "cpus", rest]:
                pid, _, mask = rest.partition(" ")
                cpus[pid] = mask
            case ["=", name, rest] if name in by_irq:
                number, _, value = rest.partition(" ")
                if number.isdigit():
                    by_irq[name][int(number)] = value.strip()
            case ["=", name, rest]:
                values.setdefault(name, rest)
    counters = parse_counters(text)
    descriptions = _parse_descriptions(text)
    actions = {number: _split_actions(names) for number, names in by_irq["actions"].items()}
    state = IrqState(
        values.get("kernel", ""),
        values.get("cmdline", ""),
        values.get("online", ""),
        tuple(
            Interrupt(
                number,
                descriptions.get(number, ""),
                counts,
                by_irq["asked"].get(number, ""),
                by_irq["effective"].get(number, ""),
                actions.get(number, ()),
                by_irq["chip"].get(number, ""),
                number in by_irq["fixed"],
            )
            for number, counts in sorted(counters.interrupts.items())
        ),
        tuple(thread for stat in stats if (thread := _parse_thread(stat, cpus)) is not None),
        counters,
    )
    return tell_secondary(state)


def tell_secondary(state: IrqState) -> IrqState:
    """The same, each thread with whether it is a secondary one, which shows beside the others only."""
    actions = {interrupt.number: interrupt.actions for interrupt in state.interrupts}
    secondary = find_secondary({thread.pid: thread.name for thread in state.threads}, actions)
    threads = tuple(replace(thread, secondary=thread.pid in secondary) for thread in state.threads)
    return replace(state, threads=threads)


def _split_actions(names: str) -> tuple[str, ...]:
    return tuple(name for name in names.split(",") if name and name != "(null)")


def _parse_thread(stat: str, cpus: Mapping[str, str]) -> IrqThread | None:
    """From /proc/PID/stat; None for a process of a user that calls itself like one: kthreadd (2) starts IRQ threads."""
    head, _, tail = stat.rpartition(") ")
    pid, _, name = head.partition(" (")
    fields = tail.split()  # the first is field 3 of proc(5)
    match = _IRQ_THREAD.match(name)
    if match is None or len(fields) < 39 or fields[1] != "2":
        return None
    return IrqThread(
        int(pid),
        name,
        int(match[1]),
        False,
        cpus.get(pid, ""),
        POLICIES.get(int(fields[38]), fields[38]),
        int(fields[37]),
        int(fields[36]),
        not int(fields[6]) & _NO_SETAFFINITY,
    )


def _interrupt_lines(text: str) -> tuple[list[int], list[tuple[int, list[str]]]]:
    """CPUs of the columns, and of each numbered interrupt the words behind the colon; of the first table in a text."""
    lines = iter(text.splitlines())
    for line in lines:
        if line == "= interrupts":
            break
    columns = [int(word[3:]) for word in next(lines, "").split() if re.fullmatch(r"CPU\d+", word)]
    rows = []
    for line in lines:
        if line.startswith("="):
            break
        number, colon, rest = line.partition(":")
        if colon and number.strip().isdigit():
            rows.append((int(number), rest.split()))
    return columns, rows


def parse_counters(text: str) -> Counters:
    """From one ``counters`` of the script. CPUs that are offline have no column."""
    columns, rows = _interrupt_lines(text)
    interrupts = {
        number: {cpu: int(word) for cpu, word in zip(columns, words, strict=False) if word.isdigit()}
        for number, words in rows
    }
    runs = {int(match[1]): int(match[2]) for match in re.finditer(r"^= runs (\d+) \d+ \d+ (\d+)", text, re.MULTILINE)}
    return Counters(interrupts, runs)


def _parse_descriptions(text: str) -> dict[int, str]:
    columns, rows = _interrupt_lines(text)
    return {number: " ".join(words[len(columns) :]) for number, words in rows}


def parse_cpus(mask: str) -> frozenset[int]:
    """A list of CPUs as the kernel writes it.

    >>> sorted(parse_cpus("0-2,5"))
    [0, 1, 2, 5]
    """
    found: set[int] = set()
    for part in filter(None, mask.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def render_cpus(cpus: Iterable[int]) -> str:
    """The kernel's list of CPUs.

    >>> render_cpus([0, 1, 2, 5])
    '0-2,5'
    """
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def choose_interrupts(state: IrqState, words: Sequence[str], *, unthreaded: bool = False) -> list[Interrupt]:
    """Threaded interrupts by number, or by a part of an action's or the description's text; all without ``words``.
    With ``unthreaded`` words may mean others, too.
    """
    if not words:
        return list(state.threaded)
    chosen = {}
    for word in words:
        for interrupt in state.interrupts if unthreaded else state.threaded:
            by_text = not word.isdigit() and word in " ".join((*interrupt.actions, interrupt.description))
            if by_text or word == str(interrupt.number):
                chosen[interrupt.number] = interrupt
    return [chosen[number] for number in sorted(chosen)]

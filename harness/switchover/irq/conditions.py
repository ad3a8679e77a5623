# SPDX-License-Identifier: GPL-2.0-or-later
"""The conditions that decide where an IRQ thread runs, each with what is expected of it. Pure.

All are for a machine with four CPUs: on CPU 0 the PIC has every hard handler, CPU 3 keeps the network and whoever
asks, so that no load starves the way back. Rows are those of docs/irq.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from switchover.irq.expectation import Expected, Line, Outcome, expect
from switchover.irq.programs import GPIO, HOG
from switchover.record.errors import UsageError
from switchover.record.toml import suggest

CPUS = 4
HOUSE = 3
"""The CPU of all interrupts but the one that is measured."""
ALL = "0-3"
PIC = 0
"""The CPU of hard handlers without an IO-APIC."""


@dataclass(frozen=True)
class Mask:
    """The interrupt's mask; an interrupt comes after it, which brings it into effect."""

    cpus: str


@dataclass(frozen=True)
class Fire:
    """Let the interrupt fire. ``cpus``: where, in turn, and ``priority``: while a pinned FIFO task of it runs there;
    both for a source that can choose.
    """

    count: int = 20
    cpus: tuple[int, ...] = (0,)
    priority: int = 0


@dataclass(frozen=True)
class Starve:
    """Let it fire once, and do not wait for what its thread would do."""


@dataclass(frozen=True)
class Place:
    """Let the thread, which may run anywhere, have run last on this CPU."""

    cpu: int


@dataclass(frozen=True)
class Pin:
    """Set the thread's own affinity, which the kernel may refuse: that is an outcome under this name."""

    name: str
    cpus: str
    expected: Expected


@dataclass(frozen=True)
class Load:
    """A task that spins until the next :class:`Unload`. It begins on the lowest of its CPUs. With ``period_us`` it
    spins for a quarter of each period only.
    """

    policy: Literal["other", "fifo"]
    priority: int
    cpus: str
    period_us: int = 0

    @property
    def name(self) -> str:
        kind = "fair hog" if self.policy == "other" else f"FIFO {self.priority}"
        where = f"pinned on CPU {self.cpus}" if self.cpus.isdigit() else f"free on CPUs {self.cpus}"
        return f"{kind} {where}{f', every {self.period_us} µs' if self.period_us else ''}"


@dataclass(frozen=True)
class Churn:
    """The mask is another one every few milliseconds, until the next :class:`Unload`."""

    cpus: tuple[str, ...]


@dataclass(frozen=True)
class Hotplug:
    """A CPU goes offline and comes back, again and again, until the next :class:`Unload`."""

    cpu: int


@dataclass(frozen=True)
class Unload:
    """All loads end."""


@dataclass(frozen=True)
class Offline:
    cpu: int


@dataclass(frozen=True)
class Window:
    """A recording, and what is expected of it."""

    name: str
    expected: Expected
    during: tuple["Step", ...] = (Fire(),)


Step = Mask | Fire | Starve | Place | Pin | Load | Churn | Hotplug | Unload | Offline | Window
Source = Literal["serial", "gpio"]


@dataclass(frozen=True)
class Condition:
    """``boot``: words of the kernel's command line. ``because``: why it is as expected. ``other``: windows of which
    something else is expected on a line of kernels, and why.
    """

    name: str
    row: str
    title: str
    boot: str
    steps: tuple[Step, ...]
    because: str
    source: Source = "serial"
    other: Mapping[Line, Mapping[str, Expected]] = field(default_factory=dict)
    other_because: Mapping[Line, str] = field(default_factory=dict)

    def expected(self, window: Window | Pin, line: Line | None) -> Expected | None:
        """None: nothing is expected of the kernel."""
        if line is None:
            return None
        return self.other.get(line, {}).get(window.name, window.expected).on(line)

    def explain(self, line: Line | None) -> str:
        return self.other_because.get(line, self.because) if line else self.because


LOCAL = expect(Outcome.LOCAL)
REMOTE = expect(Outcome.REMOTE)
REMOTE_UNDER_LOAD = expect(Outcome.REMOTE, under=HOG)
REMOTE_UNDER_GPIO = expect(Outcome.REMOTE, under=GPIO)
STARVED = expect(Outcome.STARVED)
STAYS_LOCAL = expect(Outcome.LOCAL, free=True)
STAYS_REMOTE = expect(Outcome.REMOTE, free=True)
IS_LEFT_LOCAL = expect(Outcome.LOCAL, free=True, after=True)
IS_LEFT_REMOTE = expect(Outcome.REMOTE, free=True, after=True)
_APIC = "threadirqs"
_PIC = "threadirqs noapic"
_PATCH = "the patch wakes the thread where its hard handler ran, if no real-time task runs there"
_STAYS = "a thread that may run anywhere stays on the CPU where it ran last, as long as no real-time task is in its way"
_PINNED = (
    "a pinned real-time task in its way makes the scheduler choose another CPU, whatever its priority; "
    "once there, the thread stays there"
)

CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "one-effective-cpu",
        "1",
        "an interrupt that may go to all CPUs, and has one effective CPU",
        _APIC,
        (Mask(ALL), Window("all CPUs asked for", LOCAL)),
        "the thread may run on the effective CPU only",
    ),
    Condition(
        "mask-changes",
        "2",
        "the mask is changed four times, each time to another CPU",
        _APIC,
        (
            Mask("0"),
            Window(
                "four changes",
                expect(Outcome.FOLLOWED, remote=4),
                (Mask("1"), Fire(4), Mask("2"), Fire(4), Mask("1"), Fire(4), Mask("0"), Fire(4)),
            ),
        ),
        "the interrupt that brings a mask into effect runs on the old CPU, its thread follows to the new one",
    ),
    Condition(
        "mask-churn",
        "9",
        "the mask is rewritten every few milliseconds while interrupts come",
        _APIC,
        (
            Mask("0"),
            Churn(("1", "2", "0", "1-2", "2", "0-2")),
            Window("under churn", expect(Outcome.FOLLOWED, Outcome.LOCAL), (Fire(60),)),
            Unload(),
            Mask(ALL),
            Window("after it", LOCAL),
        ),
        "one activation is remote for each mask that comes into effect on another CPU, and no other",
    ),
    Condition(
        "thread-affinity",
        "3",
        "somebody sets the thread's own affinity to another CPU",
        _APIC,
        (
            Mask("1"),
            Pin("setting it", "2", expect(Outcome.TAKEN)),
            Window("set", REMOTE),
            Pin("allowing all CPUs", ALL, expect(Outcome.TAKEN)),
            Window("all allowed", STAYS_REMOTE),
            Mask("0-1"),
            Window("the mask is written again", LOCAL),
        ),
        "the thread runs where it may and stays there; it follows the interrupt again when a mask takes effect",
        other={
            Line.NEW: {
                "setting it": expect(Outcome.REFUSED),
                "set": LOCAL,
                "allowing all CPUs": expect(Outcome.REFUSED),
                "all allowed": LOCAL,
            },
            Line.PATCHED: {"all allowed": LOCAL},
        },
        other_because={
            Line.NEW: "kernels from 6.19 on refuse to set the affinity of an IRQ thread",
            Line.PATCHED: _PATCH,
        },
    ),
    Condition(
        "no-effective-cpu",
        "4",
        "an interrupt whose chip sets no affinity",
        _PIC,
        (
            Place(2),
            Window("thread on CPU 2", STAYS_REMOTE),
            Place(PIC),
            Window("thread on the hard handler's CPU", STAYS_LOCAL),
        ),
        _STAYS,
        other={Line.PATCHED: {"thread on CPU 2": LOCAL}},
        other_because={Line.PATCHED: _PATCH},
    ),
    Condition(
        "fifo-60-on-the-thread",
        "5",
        "a FIFO 60 task has the CPU where the thread ran last",
        _PIC,
        (Place(2), Load("fifo", 60, "2"), Window("under it", STAYS_LOCAL), Unload(), Window("after it", IS_LEFT_LOCAL)),
        "the scheduler has to choose another CPU and prefers the one of the wake-up; there the thread stays",
    ),
    Condition(
        "fifo-40-on-the-hard-cpu",
        "6",
        "a pinned FIFO 40 task has the CPU of hard handler and thread",
        _PIC,
        (
            Place(PIC),
            Window("before it", STAYS_LOCAL),
            Load("fifo", 40, "0"),
            Window("under it", REMOTE_UNDER_LOAD),
            Unload(),
            Window("after it", IS_LEFT_REMOTE),
        ),
        _PINNED,
        other={Line.PATCHED: {"after it": LOCAL}},
        other_because={Line.PATCHED: f"{_PATCH}: not under the load, but after it"},
    ),
    Condition(
        "fifo-50-on-the-hard-cpu",
        "6",
        "the same with FIFO 50, the thread's own priority",
        _PIC,
        (
            Place(PIC),
            Load("fifo", 50, "0"),
            Window("under it", REMOTE_UNDER_LOAD),
            Unload(),
            Window("after it", IS_LEFT_REMOTE),
        ),
        _PINNED,
        other={Line.PATCHED: {"after it": LOCAL}},
        other_because={Line.PATCHED: f"{_PATCH}: not under the load, but after it"},
    ),
    Condition(
        "fifo-40-free",
        "6",
        "a FIFO 40 task that may run anywhere starts on the CPU of hard handler and thread",
        _PIC,
        (
            Place(PIC),
            Load("fifo", 40, ALL),
            Window("under it", STAYS_LOCAL),
            Unload(),
            Window("after it", IS_LEFT_LOCAL),
        ),
        "the thread preempts a task of lower priority that can go elsewhere, and that one does",
    ),
    Condition(
        "fifo-60-on-the-only-cpu",
        "7",
        "a FIFO 60 task has the one CPU where the thread may run",
        _APIC,
        (
            Mask("2"),
            Window("under it", STARVED, (Load("fifo", 60, "2"), Starve())),
            Unload(),
            Window("after it", LOCAL),
        ),
        "the thread can go nowhere else and waits",
    ),
    Condition(
        "fifo-50-on-the-only-cpu",
        "7",
        "the same with FIFO 50, the thread's own priority",
        _APIC,
        (
            Mask("2"),
            Window("under it", STARVED, (Load("fifo", 50, "2"), Starve())),
            Unload(),
            Window("after it", LOCAL),
        ),
        "a FIFO task runs until it sleeps or one of a higher priority comes",
    ),
    Condition(
        "fifo-40-on-the-only-cpu",
        "8",
        "a FIFO 40 task has the one CPU where the thread may run",
        _APIC,
        (Mask("2"), Load("fifo", 40, "2"), Window("under it", LOCAL), Unload(), Window("after it", LOCAL)),
        "the thread preempts it",
    ),
    Condition(
        "fair-hogs",
        "–",
        "tasks of the fair class have all CPUs, one pinned, others free",
        _PIC,
        (
            Place(PIC),
            Load("other", 0, "0"),
            Load("other", 0, ALL),
            Load("other", 0, ALL),
            Window("thread on the hard handler's CPU", STAYS_LOCAL),
            Place(2),
            Window("thread on CPU 2", STAYS_REMOTE),
            Unload(),
        ),
        "a real-time task does not care for tasks of the fair class",
        other={Line.PATCHED: {"thread on CPU 2": LOCAL}},
        other_because={Line.PATCHED: _PATCH},
    ),
    Condition(
        "cpu-offline",
        "9",
        "the effective CPU goes offline",
        _APIC,
        (
            Mask("2"),
            Window("it goes", expect(Outcome.LOCAL, Outcome.FOLLOWED), (Fire(6), Offline(2), Fire(6))),
            Window("it is gone", LOCAL),
        ),
        "the kernel gives the interrupt another effective CPU, and the thread follows",
    ),
    Condition(
        "cpu-hotplug",
        "9",
        "the effective CPU goes offline and comes back, again and again, while interrupts come",
        _APIC,
        (
            Mask("1"),
            Hotplug(1),
            Window("under it", expect(Outcome.LOCAL, Outcome.FOLLOWED), (Fire(60),)),
            Unload(),
            Mask(ALL),
            Window("after it", LOCAL),
        ),
        "the kernel gives the interrupt another effective CPU, and the thread follows",
    ),
    Condition(
        "thread-cpu-offline",
        "9",
        "a thread that may run anywhere loses the CPU where it ran last",
        _PIC,
        (Place(2), Window("before it", STAYS_REMOTE), Offline(2), Window("it is gone", IS_LEFT_LOCAL)),
        "a thread whose CPU is gone is put on the first that is left, here that of the hard handler",
        other={Line.PATCHED: {"before it": LOCAL}},
        other_because={Line.PATCHED: _PATCH},
    ),
    Condition(
        "boot-options",
        "1",
        "irqaffinity= and isolcpus= on the kernel's command line, no mask set",
        f"{_APIC} irqaffinity=1 isolcpus=2",
        (Window("as booted", expect(Outcome.LOCAL, arrives="1")),),
        "the mask is that of irqaffinity=, and the thread follows it",
    ),
    Condition(
        "boot-isolcpus",
        "1",
        "isolcpus= alone on the kernel's command line, with the CPU where the interrupt is put by default",
        f"{_APIC} isolcpus=1",
        (Window("as booted", expect(Outcome.LOCAL, arrives="1")),),
        "isolcpus= keeps tasks away and no interrupts: for these there are irqaffinity=, and isolcpus=managed_irq",
    ),
    Condition(
        "gpio-chip",
        "10",
        "a chip without an affinity, whose interrupts come on CPUs of our choice",
        _APIC,
        (
            Place(2),
            Window("from CPU 1", STAYS_REMOTE, (Fire(20, (1,)),)),
            Window("from the thread's CPU", IS_LEFT_LOCAL, (Fire(20, (2,)),)),
        ),
        _STAYS,
        source="gpio",
        other={Line.PATCHED: {"from CPU 1": LOCAL}},
        other_because={Line.PATCHED: _PATCH},
    ),
    Condition(
        "gpio-cpus-in-turn",
        "10",
        "interrupts of such a chip come on three CPUs in turn",
        _APIC,
        (Place(2), Window("from CPUs 0, 1, 2", expect(Outcome.MIXED, free=True), (Fire(30, (0, 1, 2)),))),
        f"{_STAYS}: local where the interrupt comes there by chance",
        source="gpio",
        other={Line.PATCHED: {"from CPUs 0, 1, 2": LOCAL}},
        other_because={Line.PATCHED: _PATCH},
    ),
    Condition(
        "gpio-fifo-40",
        "10",
        "such an interrupt comes while a pinned FIFO 40 task runs",
        _APIC,
        (
            Place(1),
            Window("before it", STAYS_LOCAL, (Fire(20, (1,)),)),
            Window("under it", REMOTE_UNDER_GPIO, (Fire(20, (1,), 40),)),
            Window("after it", IS_LEFT_REMOTE, (Fire(20, (1,)),)),
        ),
        _PINNED,
        source="gpio",
        other={Line.PATCHED: {"after it": LOCAL}},
        other_because={Line.PATCHED: f"{_PATCH}: not under the load, but after it"},
    ),
    Condition(
        "rt-neighbour",
        "–",
        "a FIFO 45 task that may run anywhere works a quarter of the time, first on the CPU of the hard handler",
        _PIC,
        (Place(2), Load("fifo", 45, ALL, 10_000), Window("beside it", STAYS_REMOTE, (Fire(60),)), Unload()),
        f"{_STAYS}: the neighbour is not disturbed",
        other={Line.PATCHED: {"beside it": expect(Outcome.LOCAL, Outcome.MIXED)}},
        other_because={Line.PATCHED: f"{_PATCH}: the neighbour has to go, or wait, when it wakes"},
    ),
    Condition(
        "rt-neighbour-pinned",
        "–",
        "the same, pinned on the CPU of the hard handler",
        _PIC,
        (Place(2), Load("fifo", 45, "0", 10_000), Window("beside it", STAYS_REMOTE, (Fire(60),)), Unload()),
        f"{_STAYS}: the neighbour is not disturbed",
        other={Line.PATCHED: {"beside it": expect(Outcome.LOCAL, Outcome.MIXED)}},
        other_because={Line.PATCHED: f"{_PATCH}: the neighbour waits for the thread when it wakes"},
    ),
)


def choose_conditions(names: Sequence[str]) -> list[Condition]:
    """By their names, or the rows that they have in docs/irq.md; all without names, in the order of :data:`CONDITIONS`.

    :raises UsageError: there is none of that name
    """
    known = [condition.name for condition in CONDITIONS]
    rows = {condition.row for condition in CONDITIONS}
    for name in names:
        if name not in known and name not in rows:
            raise UsageError(
                f"There is no condition {name!r}{suggest(name, known)}.", fix="switchover irq conditions --list"
            )
    return [one for one in CONDITIONS if not names or one.name in names or one.row in names]

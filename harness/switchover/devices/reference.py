# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference device: its knobs before a migration, its counters and history after it.

Names and units are those of its sysfs files (docs/reference-device.md).
"""

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

from switchover.devices.mediated import MediatedDevice, start_mediated_device
from switchover.hosts.host import Host
from switchover.record.units import MIB

PARENT = "/sys/devices/platform/refdev"
TYPE = "refdev-4vec"
OFFERS = ("migration", "stop_copy", "pre_copy", "p2p")
"""Knobs of what the device offers, which cannot be set while it is open."""


@dataclass(frozen=True)
class Spelling:
    """How a text is to be written, and that in words."""

    pattern: str
    words: str


FaultPoint = Annotated[
    str,
    Spelling(
        r"none|load|(read|write):[0-9]+|STOP|RUNNING|STOP_COPY|RESUMING|RUNNING_P2P|PRE_COPY|PRE_COPY_P2P",
        'must be "none", "load", "read:BYTE", "write:BYTE", or a state that an arc leads to: STOP, RUNNING, STOP_COPY, '
        "RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P",
    ),
]
"""As the device takes it (images/modules/refdev/knobs.c); no arc that can fail leads to ERROR."""


@dataclass(frozen=True)
class Knobs:
    """How the device behaves in a migration. Sizes are in bytes, rates in bytes per second; a rate of 0 means no limit.

    ``migration``, ``stop_copy``, ``pre_copy`` and ``p2p`` are what the device offers. A load overwrites the two sizes
    of the destination's device.
    """

    migration: bool = True
    """whether the device supports migration at all"""
    stop_copy: bool = True
    """the flag ``VFIO_MIGRATION_STOP_COPY``; if it is off, every state change is refused"""
    pre_copy: bool = True
    """the flag ``VFIO_MIGRATION_PRE_COPY``: whether state can be read while the guest runs"""
    p2p: bool = True
    """the flag ``VFIO_MIGRATION_P2P``"""
    initial_bytes: int = 4 * MIB
    """how much state pre-copy can move while the guest runs, in bytes of the stream"""
    stop_copy_bytes: int = 1 * MIB
    """how much state is always moved in the downtime, in bytes of the stream"""
    dirty_bytes_per_sec: int = 0
    """how fast state that was read in pre-copy becomes dirty again, in bytes per second"""
    save_bytes_per_sec: int = 0
    """how fast state can be read, in bytes per second; 0 means without a limit"""
    load_bytes_per_sec: int = 0
    """how fast state can be loaded, in bytes per second; 0 means without a limit"""
    load_initial_ms: int = 0
    """how long the write that completes the initial bytes takes, in milliseconds"""
    state_change_ms: int = 0
    """how long each single change of state (arc) takes, in milliseconds"""
    dma_pages_per_sec: int = 0
    """how many pages of 4 KiB the device writes to the guest's buffer per second, once the guest has enabled that; 0
    means none"""
    irq_rates: tuple[int, ...] = ()
    """the interrupts per second of each vector, from vector 0 on; a rate that the guest sets replaces it"""
    fail_at: FaultPoint = "none"
    """where a fault happens: ``none``, the target state of an arc as spelled in the history, ``read:BYTE``,
    ``write:BYTE``, or ``load``"""
    fail_errno: int = 5
    """the errno with which the fault of ``fail_at`` fails"""
    fail_times: Literal["once", "always"] = "once"
    """how often the fault happens; with ``once``, it does not happen again until ``fail_at`` is set again"""
    fail_device: Literal["stays", "error"] = "stays"
    """what becomes of the device with the fault; with ``error`` it goes to the state ERROR, which it leaves only by a
    reset"""
    corrupt: Literal["none", "stream", "state"] = "none"
    """what the device corrupts: ``stream`` makes a saving device damage its stream, so that the last write to the
    destination's device is refused; ``state`` makes a loading device show the guest another checksum than that of
    its state"""
    stream_version: int = 2
    """the version of the streams that the device's driver writes; in the first, the scratch registers stand in reverse
    order"""
    other_version: Literal["refused", "read", "misread"] = "refused"
    """what a loading device makes of a stream whose version is not its `stream_version`: ``refused`` fails the write,
    ``read`` loads it as what it is, ``misread`` takes it for one of its own and gets part of the state wrong"""
    version_errno: int = 22
    """the errno with which a version is refused"""

    def offers(self) -> tuple[bool, ...]:
        return tuple(getattr(self, name) for name in OFFERS)

    def in_order(self) -> "Knobs":
        """The same device, with nothing that fails, stalls or takes its time."""
        return replace(
            self,
            fail_at="none",
            corrupt="none",
            load_initial_ms=0,
            state_change_ms=0,
            dirty_bytes_per_sec=0,
            save_bytes_per_sec=0,
            load_bytes_per_sec=0,
        )


@dataclass(frozen=True)
class StateChange:
    """One change of the device's state, from its history; times in nanoseconds of the host's clocks."""

    sequence: int
    monotonic_ns: int
    realtime_ns: int
    duration_ns: int
    origin: str
    target: str
    result: int
    """0, or the errno that the change ended with, negative."""
    cause: str


@dataclass(frozen=True)
class Truth:
    """What the device itself knows: state, generation, counters since its creation, and its history."""

    state: str
    generation: int
    counters: Mapping[str, int]
    history: tuple[StateChange, ...]


KnobValue = bool | int | str | tuple[int, ...]


def render_knob(value: KnobValue) -> str:
    """A knob's value as the device writes it: no zeros at the end of a list.

    >>> render_knob((100, 0, 50, 0))
    '100 0 50'
    """
    if isinstance(value, bool):
        return "y" if value else "n"
    if isinstance(value, tuple):
        return re.sub("( 0)+$", "", " ".join(str(number) for number in value)) or "0"
    return str(value)


def parse_history(text: str) -> tuple[StateChange, ...]:
    """Lines ``SEQUENCE MONOTONIC_NS REALTIME_NS FROM TO RESULT DURATION_NS CAUSE``, a state change each.

    >>> parse_history("3 50 60 STOP RUNNING 0 7 set_state   ")[0].target
    'RUNNING'
    """
    changes = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 8:
            sequence, monotonic, realtime = (int(word) for word in words[:3])
            changes.append(
                StateChange(sequence, monotonic, realtime, int(words[6]), words[3], words[4], int(words[5]), words[7])
            )
    return tuple(changes)


def _split_files(text: str) -> dict[str, str]:
    """Contents by name, from the output of ``head`` for several files: ``==> NAME <==``, then the contents."""
    files: dict[str, str] = {}
    for block in text.split("==> ")[1:]:
        name, _, contents = block.partition("\n")
        files[name.removesuffix(" <==").strip()] = contents
    return files


def parse_truth(text: str) -> Truth:
    """The files of :func:`read_truth`, as ``head`` prints them."""
    files = _split_files(text)
    counters = {
        name.removeprefix("counters/"): int(value) for name, value in files.items() if name.startswith("counters/")
    }
    return Truth(files["state"].strip(), int(files["generation"]), counters, parse_history(files["history"]))


@dataclass(frozen=True)
class ReferenceDevice:
    """A reference device on a host."""

    mediated: MediatedDevice

    def set_knobs(self, knobs: Knobs) -> None:
        """Set every knob and read it back, before QEMU opens the device.

        :raises CommandFailed: the device refuses a value, or some of the knobs while it is open
        """
        self._write_knobs(asdict(knobs))

    def set_knob(self, name: str, value: KnobValue) -> None:
        """Set one knob and read it back: rates, times and faults also while the device is open.

        :raises CommandFailed: the device refuses it
        """
        self._write_knobs({name: value})

    def set_live_knobs(self, knobs: Knobs) -> None:
        """Set, while QEMU has the device open, all knobs but those of what the device offers."""
        self._write_knobs({name: value for name, value in asdict(knobs).items() if name not in OFFERS})

    def _write_knobs(self, knobs: Mapping[str, KnobValue]) -> None:
        # one shell, no process per knob: a lab host under TCG pays for each
        script = (
            'cd "$1/knobs" && shift && for pair; do knob=${pair%%=*}; '
            'echo "${pair#*=}" >"$knob" && read -r value <"$knob" && echo "$value"; done'
        )
        pairs = [f"{name}={render_knob(value)}" for name, value in knobs.items()]
        answer = self.mediated.host.run(["sh", "-ec", script, "sh", self.mediated.sysfs, *pairs]).text.splitlines()
        wanted = [pair.partition("=")[2] for pair in pairs]
        if answer != wanted:
            raise AssertionError(f"the reference device's knobs read {answer}, not {wanted}")

    def read_truth(self) -> Truth:
        return parse_truth(self.mediated.host.run(["sh", "-ec", self.ask_truth()]).text)

    def ask_truth(self) -> str:
        """A script for its host that :func:`parse_truth` reads."""
        return f"cd {shlex.quote(self.mediated.sysfs)} && head -c 1000000 state generation history counters/*"


@contextlib.contextmanager
def start_reference_device(host: Host, knobs: Knobs, mdev_type: str = TYPE) -> Iterator[ReferenceDevice]:
    """A reference device for the time of a ``with`` block, its knobs set."""
    with start_mediated_device(host, PARENT, mdev_type) as mediated:
        device = ReferenceDevice(mediated)
        device.set_knobs(knobs)
        yield device


@dataclass(frozen=True)
class InterruptCounts:
    """Interrupts per vector. ``hard``, ``thread``: how often primary handler and thread ran, summed over CPUs.

    ``raised``: how often the device raised it since its reset. ``hard_seen``, ``thread_seen``: that count, as handler
    and thread last read it. Interrupts that come together run a handler once; once raising has stopped and the handlers
    have run, one that saw less than was raised missed an interrupt.
    """

    hard: tuple[int, ...]
    thread: tuple[int, ...]
    raised: tuple[int, ...] = ()
    hard_seen: tuple[int, ...] = ()
    thread_seen: tuple[int, ...] = ()

    @property
    def seen(self) -> tuple[int, ...]:
        """What both primary handler and thread have seen."""
        return tuple(min(pair) for pair in zip(self.hard_seen, self.thread_seen, strict=True))


@dataclass(frozen=True)
class GuestView:
    """What the guest's driver sees of the device."""

    scratch: tuple[str, ...]
    generation: int
    seed: str
    checksum: str
    checksum_expected: str
    irq_hard: tuple[int, ...]
    irq_thread: tuple[int, ...]
    irq_raised: tuple[int, ...] = ()
    irq_seen: tuple[int, ...] = ()


@dataclass(frozen=True)
class WrongPage:
    """A page of the DMA buffer, its first wrong 64-bit word, and what that is instead of what it must be."""

    page: int
    word: int
    found: int
    expected: int


@dataclass(frozen=True)
class DmaVerification:
    """Every word of the DMA buffer compared by the guest. ``sequence``: the number that the next page will have."""

    sequence: int
    wrong_pages: int = 0
    first_wrong: tuple[WrongPage, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.wrong_pages


def parse_dma_verification(text: str) -> DmaVerification:
    """``ok SEQUENCE``, or ``wrong SEQUENCE PAGES`` and lines ``PAGE WORD FOUND EXPECTED`` for the first of them.

    >>> parse_dma_verification("ok 12").sequence
    12

    :raises ValueError: the text is neither
    """
    first, *rest = text.strip().splitlines() or [""]
    match first.split():
        case ["ok", sequence]:
            return DmaVerification(int(sequence))
        case ["wrong", sequence, pages]:
            wrong = tuple(WrongPage(*(int(number, 0) for number in line.split())) for line in rest)
            return DmaVerification(int(sequence), int(pages), wrong)
    raise ValueError(f"the guest's driver says of its DMA buffer: {text[:200]!r}")


_DRIVEN = "/sys/bus/pci/drivers/refdev_guest/*/refdev"


def ask_devices_taken(count: int, seconds: float) -> str:
    """A script for a guest that waits until its driver has taken so many devices, and fails if it does not."""
    tries = round(seconds / _POLL_S)
    return (
        f'tries=0; while set -- {_DRIVEN}; [ -e "$1" ] || shift; [ $# != {count} ]; do '
        f"[ $((tries += 1)) -lt {tries} ] || exit 1; sleep {_POLL_S}; done"
    )


_POLL_S = 0.05


def find_driven(number: int) -> str:
    """Begin of a script for a guest, in the directory of a device that its driver has; ``number``: which, from 0."""
    return f'set -- {_DRIVEN}; shift {number}; cd "$1" && '


READ_VIEW = "head -c 1000000 scratch generation seed checksum checksum_expected irq_hard irq_thread irq_raised irq_seen"
"""What :func:`parse_view` reads, as a script in the directory of a device."""
VERIFY_DMA = "cat dma_verify"
"""What :func:`parse_dma_verification` reads."""
ENABLE_DMA = "echo 1 >dma_enable"
_FIRED_S = 15


def write_state(scratch: Sequence[int], seed: int) -> str:
    """A script in the directory of a device: values for its scratch registers, a seed for its state."""
    return f"echo {' '.join(str(word) for word in scratch)} >scratch && echo {seed} >seed"


FIRE = f"""{{
last() {{ while read -r line; do kept=$line; done <"$1"; echo "$kept"; }}
hard=$(last irq_hard) thread=$(last irq_thread)
echo "$hard"
echo "$thread"
echo "${{hard%% *}}" >trigger || exit
tries=0
while [ "$(last irq_hard)" = "$hard" ] || [ "$(last irq_thread)" = "$thread" ]; do
    [ $((tries += 1)) -lt {round(_FIRED_S / _POLL_S)} ] || break
    sleep {_POLL_S}
done
last irq_hard
last irq_thread
}}"""
"""Let a device raise its last vector once, and wait until it has arrived; what :func:`parse_fired` reads."""


@dataclass(frozen=True)
class Fired:
    """How often primary handler and thread of a vector had run before it was raised, and how often after it."""

    vector: int
    before: tuple[int, int]
    after: tuple[int, int]


def parse_fired(text: str) -> Fired:
    """Four lines ``VECTOR COUNT…`` with a count per CPU: primary handler and thread, before and after.

    >>> parse_fired("3 1 0\\n3 0 1\\n3 2 0\\n3 0 2")
    Fired(vector=3, before=(1, 1), after=(2, 2))

    :raises ValueError: the text is something else
    """
    rows = [[int(word) for word in line.split()] for line in text.strip().splitlines()]
    if len(rows) != 4 or not all(len(row) > 1 for row in rows):
        raise ValueError(f"not four lines of counts: {text[:200]!r}")
    sums = [sum(row[1:]) for row in rows]
    return Fired(rows[0][0], (sums[0], sums[1]), (sums[2], sums[3]))


def parse_view(text: str) -> GuestView:
    """The files of :data:`READ_VIEW`, as ``head`` prints them."""
    files = _split_files(text)
    counts = parse_interrupts(files)
    return GuestView(
        scratch=tuple(files["scratch"].split()),
        generation=int(files["generation"]),
        seed=files["seed"].strip(),
        checksum=files["checksum"].strip(),
        checksum_expected=files["checksum_expected"].strip(),
        irq_hard=counts.hard,
        irq_thread=counts.thread,
        irq_raised=counts.raised,
        irq_seen=counts.seen,
    )


class GuestDriver:
    """The driver of a reference device inside a guest that is reached over SSH. ``number``: which, from 0, by slot."""

    _INTERRUPTS = "irq_hard irq_thread irq_raised irq_seen"

    def __init__(self, guest: Host, number: int = 0) -> None:
        self._guest = guest
        self._find = find_driven(number)

    def read(self) -> GuestView:
        """The checksum is computed by the device and, word by word, by the guest."""
        return parse_view(self._guest.run(["sh", "-c", f"{self._find} {READ_VIEW}"], timeout=120).text)

    def read_interrupts(self) -> InterruptCounts:
        return parse_interrupts(self._read_files(self._INTERRUPTS))

    def read_irqs(self) -> tuple[int, ...]:
        """The numbers that the guest's kernel has given the interrupts, by vector."""
        return _read_column(self._read_files("irqs /dev/null")["irqs"], 1)

    def set_interrupt_rate(self, vector: int, hertz: int) -> None:
        """Let the device raise a vector at a rate, at most 10000 Hz; 0: at the rate of its knob ``irq_rates``."""
        self._echo(f"{vector} {hertz}", "irq_rate")

    def read_interrupt_rates(self) -> tuple[int, ...]:
        """The rates that the guest has set, in Hz by vector."""
        return _read_column(self._read_files("irq_rate /dev/null")["irq_rate"], 1)

    def enable_dma(self) -> None:
        """Let the device write to the buffer. :raises CommandFailed: it has none, or was reset behind the driver"""
        self._echo("1", "dma_enable")

    def disable_dma(self) -> None:
        """When this returns the last page has been written."""
        self._echo("0", "dma_enable")

    def verify_dma(self) -> DmaVerification:
        """Compare all of the buffer; the device does not write meanwhile, and goes on after it if it did before."""
        return parse_dma_verification(self._read_files("dma_verify /dev/null")["dma_verify"])

    def _read_files(self, names: str) -> dict[str, str]:
        script = f"{self._find} head -c 1000000 {names}"
        return _split_files(self._guest.run(["sh", "-c", script], timeout=120).text)

    def write(self, *, scratch: list[int], seed: int) -> None:
        """Put values into the scratch registers and seed the device's state with a new one."""
        self._guest.run(["sh", "-c", f"{self._find} {write_state(scratch, seed)}"])

    def is_enabled(self) -> bool:
        """Whether the device raises interrupts; after a reset it does not."""
        return self._read_files("enabled /dev/null")["enabled"].strip() == "1"

    def reinitialise(self) -> None:
        """Set the device up again after a reset that the guest did not ask for."""
        self._echo("1", "reinit")

    def trigger(self, vector: int) -> None:
        """Let the device raise an interrupt."""
        self._echo(str(vector), "trigger")

    def _echo(self, text: str, name: str) -> None:
        self._guest.run(["sh", "-c", f"{self._find} echo {text} >{name}"])


def parse_interrupts(files: Mapping[str, str]) -> InterruptCounts:
    """The driver's files on interrupts by name: a line per vector, ``VECTOR`` and then its numbers.

    >>> parse_interrupts({"irq_hard": "0 1 2", "irq_thread": "0 3 0", "irq_raised": "0 5", "irq_seen": "0 5 4"}).seen
    (4,)
    """
    seen = files.get("irq_seen", "")
    return InterruptCounts(
        hard=_sum_lines(files["irq_hard"]),
        thread=_sum_lines(files["irq_thread"]),
        raised=_read_column(files.get("irq_raised", ""), 1),
        hard_seen=_read_column(seen, 1),
        thread_seen=_read_column(seen, 2),
    )


def _read_column(text: str, column: int) -> tuple[int, ...]:
    return tuple(int(line.split()[column]) for line in text.splitlines() if line.strip())


def _sum_lines(text: str) -> tuple[int, ...]:
    """Lines ``VECTOR COUNT…`` with a count per CPU, summed."""
    return tuple(sum(int(word) for word in line.split()[1:]) for line in text.splitlines() if line.strip())

# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference device: its knobs before a migration, its counters and history after it.

Names and units are those of its sysfs files (docs/reference-device.md).
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from switchover.devices.mediated import MediatedDevice, start_mediated_device
from switchover.hosts.host import Host
from switchover.record.units import MIB

PARENT = "/sys/devices/platform/refdev"
TYPE = "refdev-4vec"


@dataclass(frozen=True)
class Knobs:
    """How the device behaves in a migration. Sizes in bytes, rates in bytes per second (0: as fast as it can)."""

    pre_copy: bool = True
    p2p: bool = True
    initial_bytes: int = 4 * MIB
    stop_copy_bytes: int = 1 * MIB
    dirty_bytes_per_sec: int = 0
    save_bytes_per_sec: int = 0
    load_bytes_per_sec: int = 0

    def without_faults(self) -> "Knobs":
        """The same device, none of whose failures is on purpose."""
        return self


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


def render_knob(value: bool | int) -> str:
    if isinstance(value, bool):
        return "y" if value else "n"
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
        """Set every knob and read it back. :raises CommandFailed: the device refuses a value"""
        self._write_knobs(asdict(knobs))

    def change_knobs(self, old: Knobs, new: Knobs) -> None:
        """Set those knobs only that differ: some cannot be set while the device is open."""
        before = asdict(old)
        self._write_knobs({name: value for name, value in asdict(new).items() if value != before[name]})

    def _write_knobs(self, knobs: Mapping[str, bool | int]) -> None:
        # one shell, no process per knob: a lab host under TCG pays for each
        script = (
            'cd "$1/knobs" && shift && for pair; do knob=${pair%%=*}; '
            'echo "${pair#*=}" >"$knob" && read -r value <"$knob" && echo "$value"; done'
        )
        pairs = [f"{name}={render_knob(value)}" for name, value in knobs.items()]
        answer = self.mediated.host.run(["sh", "-ec", script, "sh", self.mediated.sysfs, *pairs]).text.split()
        wanted = [pair.partition("=")[2] for pair in pairs]
        if answer != wanted:
            raise AssertionError(f"the reference device's knobs read {answer}, not {wanted}")

    def read_truth(self) -> Truth:
        script = 'cd "$1" && head -c 1000000 state generation history counters/*'
        return parse_truth(self.mediated.host.run(["sh", "-ec", script, "sh", self.mediated.sysfs]).text)


@contextlib.contextmanager
def start_reference_device(host: Host, knobs: Knobs, mdev_type: str = TYPE) -> Iterator[ReferenceDevice]:
    """A reference device for the time of a ``with`` block, its knobs set."""
    with start_mediated_device(host, PARENT, mdev_type) as mediated:
        device = ReferenceDevice(mediated)
        device.set_knobs(knobs)
        yield device


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


@dataclass(frozen=True)
class InterruptCounts:
    """Interrupts so far per vector, summed over CPUs: in the primary handler, in the thread."""

    hard: tuple[int, ...]
    thread: tuple[int, ...]


class GuestDriver:
    """The driver of a reference device inside a guest that is reached over SSH. ``number``: which, from 0, by slot."""

    def __init__(self, guest: Host, number: int = 0) -> None:
        self._guest = guest
        self._find = f'set -- /sys/bus/pci/drivers/refdev_guest/*/refdev; shift {number}; cd "$1" && '

    def read(self) -> GuestView:
        """The checksum is computed by the device and, word by word, by the guest."""
        files = self._read_files("scratch generation seed checksum checksum_expected irq_hard irq_thread")
        return GuestView(
            scratch=tuple(files["scratch"].split()),
            generation=int(files["generation"]),
            seed=files["seed"].strip(),
            checksum=files["checksum"].strip(),
            checksum_expected=files["checksum_expected"].strip(),
            irq_hard=_sum_lines(files["irq_hard"]),
            irq_thread=_sum_lines(files["irq_thread"]),
        )

    def read_interrupts(self) -> InterruptCounts:
        files = self._read_files("irq_hard irq_thread")
        return InterruptCounts(_sum_lines(files["irq_hard"]), _sum_lines(files["irq_thread"]))

    def _read_files(self, names: str) -> dict[str, str]:
        script = f"{self._find} head -c 1000000 {names}"
        return _split_files(self._guest.run(["sh", "-c", script], timeout=120).text)

    def write(self, *, scratch: list[int], seed: int) -> None:
        """Put values into the scratch registers and seed the device's state with a new one."""
        words = " ".join(str(word) for word in scratch)
        self._guest.run(["sh", "-c", f"{self._find} echo {words} >scratch && echo {seed} >seed"])

    def reinitialise(self) -> None:
        """Set the device up again after a reset that the guest did not ask for."""
        self._guest.run(["sh", "-c", f"{self._find} echo 1 >reinit"])

    def trigger(self, vector: int) -> None:
        """Let the device raise an interrupt."""
        self._guest.run(["sh", "-c", f"{self._find} echo {vector} >trigger"])


def _sum_lines(text: str) -> tuple[int, ...]:
    """Lines ``VECTOR COUNT…`` with a count per CPU, summed."""
    return tuple(sum(int(word) for word in line.split()[1:]) for line in text.splitlines() if line.strip())

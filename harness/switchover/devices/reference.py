# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference device: its knobs before a migration, its counters and history after it.

Names and units are those of its sysfs files (docs/reference-device.md).
"""

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

from switchover.devices.mediated import MediatedDevice, start_mediated_device
from switchover.hosts.host import Host
from switchover.record.errors import NotSupported
from switchover.record.units import MIB

PARENT = "/sys/devices/platform/refdev"
TYPE = "refdev-4vec"
OFFERS = ("migration", "stop_copy", "pre_copy", "p2p", "precopy_info_v2", "dirty_tracking")
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

    Those of :data:`OFFERS` are what the device offers. A load overwrites the two sizes of the destination's device.
    """

    migration: bool = True
    """whether the device supports migration at all"""
    stop_copy: bool = True
    """the flag ``VFIO_MIGRATION_STOP_COPY``; if it is off, every state change is refused"""
    pre_copy: bool = True
    """the flag ``VFIO_MIGRATION_PRE_COPY``: whether state can be read while the guest runs"""
    p2p: bool = True
    """the flag ``VFIO_MIGRATION_P2P``"""
    precopy_info_v2: bool = True
    """the feature ``VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2``: whether a QEMU that opts in is told of initial data that
    came anew; to all others that is dirty state"""
    dirty_tracking: bool = False
    """the features ``VFIO_DEVICE_FEATURE_DMA_LOGGING_*``: whether the device itself logs which pages it writes; needs a
    kernel with IOMMUFD_DRIVER"""
    initial_bytes: int = 4 * MIB
    """how much state pre-copy can move while the guest runs, in bytes of the stream"""
    stop_copy_bytes: int = 1 * MIB
    """how much state is always moved in the downtime, in bytes of the stream"""
    dirty_bytes_per_sec: int = 0
    """how fast state that was read in pre-copy becomes dirty again, in bytes per second"""
    reinit_count: int = 0
    """how often in a stream initial data comes anew in pre-copy (``VFIO_PRECOPY_INFO_REINIT``)"""
    reinit_bytes: int = 64 << 10
    """how much of it comes each time, in bytes of the stream"""
    reinit_after_bytes: int = 0
    """how much must have been read since it came last, or since the beginning, in bytes of the stream; it never comes
    before all initial data is read"""
    reinit_at: Literal["read", "PRE_COPY_P2P"] = "read"
    """when it comes: ``read``, by the bytes that were read, so that QEMU finds it while the guest runs; or with the
    state PRE_COPY_P2P, which QEMU enters after it has decided to switch over"""
    save_bytes_per_sec: int = 0
    """how fast state can be read, in bytes per second; 0 means without a limit"""
    load_bytes_per_sec: int = 0
    """how fast state can be loaded, in bytes per second; 0 means without a limit"""
    load_initial_ms: int = 0
    """how long the write takes that completes the initial bytes, or initial data that came anew, in milliseconds"""
    state_change_ms: int = 0
    """how long each single change of state (arc) takes, in milliseconds"""
    p2p_active: Literal["none", "irqs", "all"] = "none"
    """what goes on in RUNNING_P2P and PRE_COPY_P2P: ``irqs``, interrupts; ``all``, DMA to the guest's memory too"""
    dma_pages_per_sec: int = 0
    """how many pages of 4 KiB the device writes to the guest's buffer per second, once the guest has enabled that; 0
    means none"""
    log_report: Literal["true", "too-little", "fail"] = "true"
    """what the device's reports of dirty pages are: ``too-little`` leaves out every second page, ``fail`` fails with
    `fail_errno`"""
    log_page_bytes: int = 4096
    """the smallest page that the device can track, in bytes, a power of 2"""
    log_max_ranges: int = 256
    """how many ranges of addresses the device can track; to track more is refused"""
    log_max_pages: int = 1 << 20
    """how many dirty pages the device remembers between two reports; if there are more, it reports all pages as dirty
    from then on"""
    irq_rates: tuple[int, ...] = ()
    """the interrupts per second of each vector, from vector 0 on; a rate that the guest sets replaces it"""
    fail_at: FaultPoint = "none"
    """where a fault happens: ``none``, the target state of an arc as spelled in the history, ``read:BYTE``,
    ``write:BYTE``, or ``load``"""
    fail_errno: int = 5
    """the errno with which the fault of ``fail_at`` fails, and a report of dirty pages"""
    fail_times: Literal["once", "always"] = "once"
    """how often the fault happens; with ``once``, it does not happen again until ``fail_at`` is set again"""
    fail_device: Literal["stays", "error"] = "stays"
    """what becomes of the device with the fault; with ``error`` it goes to the state ERROR, which it leaves only by a
    reset"""
    corrupt: Literal["none", "stream", "state"] = "none"
    """what the device corrupts: ``stream`` makes a saving device damage its stream, so that the last write to the
    destination's device is refused; ``state`` makes a loading device show the guest another checksum than that of
    its state"""
    stream_version: int = 3
    """the version of the streams that the device's driver writes; in the first, the scratch registers stand in reverse
    order, and before the third, initial data that comes anew is dirty state to the one who loads it"""
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
            reinit_count=0,
            reinit_bytes=Knobs.reinit_bytes,
            reinit_after_bytes=0,
            reinit_at="read",
            log_report="true",
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


def split_files(text: str) -> dict[str, str]:
    """Contents by name, from the output of ``head`` for several files: ``==> NAME <==``, then the contents."""
    files: dict[str, str] = {}
    for block in text.split("==> ")[1:]:
        name, _, contents = block.partition("\n")
        files[name.removesuffix(" <==").strip()] = contents
    return files


def parse_truth(text: str) -> Truth:
    """The files of :func:`read_truth`, as ``head`` prints them."""
    files = split_files(text)
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

        :raises NotSupported: the host's kernel lets no device track dirty pages
        :raises CommandFailed: the device refuses a value, or some of the knobs while it is open
        """
        if knobs.dirty_tracking:
            self._require_dirty_tracking()
        self._write_knobs(asdict(knobs))

    def _require_dirty_tracking(self) -> None:
        host = self.mediated.host
        asked = host.run(["sh", "-ec", 'echo y >"$1/knobs/dirty_tracking"', "sh", self.mediated.sysfs], check=False)
        if asked.returncode:
            raise NotSupported(
                f"A device of {host.name} cannot track dirty pages itself.",
                why="the kernel that refdev was built for has no IOMMUFD_DRIVER",
            )

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

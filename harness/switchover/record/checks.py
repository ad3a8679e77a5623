# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of checks: their ids, and what each claims. Code goes by ids; sentences are for people, and may change.

An id stays what it is for good, and never means anything else: users' tests and older records have it. It names what is
claimed, whatever the side, the device and the version.
"""

from enum import StrEnum, unique
from typing import Self, cast


class Subjects(StrEnum):
    """Which instances of a check there may be; the value tells people how they are called."""

    NONE = ""
    SIDE = "`source`, `destination`"
    DEVICE = "`device 1`, `device 2` …"
    """of the guest's reference devices, in the order of their slots"""
    PLACE = "`source`, `source ID` …"
    """a device of a side, as in ``states`` of the record"""
    FAULT = "`cut link in active` …"
    """what was to be done, and in which phase"""
    CLAIM = "a word"
    """the case's own, unique in it"""
    INTERRUPT = "`source interrupt 30`, `through interrupt 30` …"
    """a window (before, through or after the migration), and the interrupt's number in the guest"""


@unique
class CheckId(StrEnum):
    """Every check that there is. ``claim``: what must hold, in one line; ``subjects``: which instances there may be."""

    claim: str
    subjects: Subjects

    def __new__(cls, value: str, claim: str, subjects: Subjects = Subjects.NONE) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.claim = claim
        member.subjects = subjects
        return member

    GUEST_BOOT_ID = "guest.boot-id", "guest is the same boot"
    GUEST_CANARY = "guest.canary", "guest memory keeps its canary"
    GUEST_CONNECTION_SURVIVES = "guest.connection-survives", "connections to the guest survive the migration"
    GUEST_NEW_LOGIN = "guest.new-login", "guest lets in a new login on the destination"
    GUEST_CONSOLE = "guest.console", "guest console is free of oopses", Subjects.SIDE
    GUEST_RUN_STATE = "guest.run-state", "guest arrives in the state that it left in"
    GUEST_ON_SOURCE = "guest.on-source", "guest runs on the source"
    GUEST_NOT_ON_SOURCE = "guest.not-on-source", "guest does not run on the source any more"
    GUEST_ONE_PLACE = "guest.one-place", "guest is heard from one side at a time"
    GUEST_NOT_ON_DESTINATION = "guest.not-on-destination", "guest does not run on the destination"
    GUEST_MAC = "guest.mac", "guest keeps the MAC address that it had at the source"
    GUEST_PCI_FUNCTIONS = "guest.pci-functions", "guest sees the PCI functions that it was given"
    GUEST_PCI_DRIVERS = "guest.pci-drivers", "guest drivers of PCI functions are kept"

    DEVICE_GENERATION = "device.generation", "device generation counts its loads", Subjects.DEVICE
    DEVICE_SCRATCH = "device.scratch", "device scratch registers are kept", Subjects.DEVICE
    DEVICE_SEED = "device.seed", "device seed is kept", Subjects.DEVICE
    DEVICE_CHECKSUM = "device.checksum", "device state checksum is the source's", Subjects.DEVICE
    DEVICE_CHECKSUM_BY_GUEST = "device.checksum-by-guest", "guest computes the same checksum", Subjects.DEVICE
    DEVICE_REINITIALISED = "device.reinitialised", "device is set up again after its reset", Subjects.DEVICE
    DEVICE_INTERRUPT = (
        "device.interrupt", "interrupt of the last vector fires (primary handler, thread)", Subjects.DEVICE
    )  # fmt: skip
    DEVICE_INTERRUPTS_AT_A_RATE = (
        "device.interrupts-at-a-rate", "no interrupt at a rate is lost", Subjects.DEVICE
    )  # fmt: skip
    DEVICE_DMA = "device.dma", "every page written by DMA is whole", Subjects.DEVICE
    DEVICE_DMA_GOES_ON = (
        "device.dma-goes-on", "the device writes by DMA while the migration goes on", Subjects.PLACE
    )  # fmt: skip
    DEVICE_PROPERTIES = "device.properties", "QEMU holds the properties that it was given", Subjects.PLACE
    DEVICE_STATES = "device.states", "states by events are those of the device's history", Subjects.PLACE
    DEVICE_STATES_TRACED = "device.states-traced", "states by traces are those by events", Subjects.PLACE
    DEVICE_PRECOPY_USED = "device.precopy.used", "pre-copy is used if it can be", Subjects.PLACE
    DEVICE_PRECOPY_EXPECTED = (
        "device.precopy.expected", "pre-copy is on or off, as expected of the case", Subjects.PLACE
    )  # fmt: skip
    DEVICE_PRECOPY_INITIAL_BYTES = (
        "device.precopy.initial-bytes", "initial bytes reported are all that the device has", Subjects.PLACE
    )  # fmt: skip
    DEVICE_PRECOPY_INITIAL_FIRST = (
        "device.precopy.initial-first", "initial bytes are sent before dirty ones", Subjects.PLACE
    )  # fmt: skip
    DEVICE_PRECOPY_DIRTY_BYTES = (
        "device.precopy.dirty-bytes", "dirty bytes are reported, and read", Subjects.PLACE
    )  # fmt: skip
    DEVICE_PRECOPY_ENOMSG = (
        "device.precopy.enomsg", "pre-copy is read until the device is empty (ENOMSG)", Subjects.PLACE
    )  # fmt: skip
    DEVICE_PENDING_ESTIMATE = (
        "device.pending.estimate", "the estimate is never above the exact pending size", Subjects.PLACE
    )  # fmt: skip
    DEVICE_PENDING_EXACT = (
        "device.pending.exact", "the last exact pending size is what stop-copy reads", Subjects.PLACE
    )  # fmt: skip
    DEVICE_STOP_COPY_IN_DOWNTIME = (
        "device.stop-copy-in-downtime", "STOP_COPY comes only in the downtime", Subjects.PLACE
    )  # fmt: skip
    DEVICE_DIRTY_BITMAPS = (
        "device.dirty-bitmaps", "dirty bitmaps are asked for when x-pre-copy-dirty-page-tracking says so",
        Subjects.PLACE,
    )  # fmt: skip

    DEVICE_FAULT = "device.fault", "the device made the fault that its knobs ask for", Subjects.PLACE
    DEVICE_OTHER_VERSION = (
        "device.other-version",
        "the device came to load a stream of another version than its own",
        Subjects.PLACE,
    )
    DEVICE_REINIT = "device.reinit", "initial data of the device came anew, as its knobs ask for", Subjects.PLACE
    DEVICE_NO_FAULT = "device.no-fault", "the device made no fault that the migration never comes to", Subjects.PLACE

    BYTES_VFIO_PRECOPY = "bytes.vfio.precopy", "traced pre-copy bytes equal the device's", Subjects.DEVICE
    BYTES_VFIO_STOP_COPY = "bytes.vfio.stop-copy", "traced stop-copy bytes equal the device's", Subjects.DEVICE
    BYTES_VFIO_ADDS_UP = "bytes.vfio.adds-up", "bytes read are initial, dirty and stop-copy ones", Subjects.PLACE
    BYTES_VFIO_LOADED = "bytes.vfio.loaded", "destination's devices took every byte"
    BYTES_VFIO_TRANSFERRED = "bytes.vfio.transferred", "query-migrate's vfio.transferred is the bytes read"
    BYTES_RESIDUAL = "bytes.residual", "wire - RAM - VFIO is what headers and other devices take"

    DOWNTIME_OUTSIDE = "downtime.outside", "the outside hears nothing while no vCPU runs, and the guest soon after"

    DOWNTIME_BOUND = "downtime.bound", "the explained downtime keeps the bound that the case expects"
    DOWNTIME_OUTSIDE_BOUND = (
        "downtime.outside-bound", "the downtime from outside keeps the bound that the case expects"
    )  # fmt: skip

    MIGRATION_FAULTS = "migration.faults", "every fault was made", Subjects.FAULT
    MIGRATION_AGAIN = "migration.again", "a second migration completes, with all its checks"
    MIGRATION_CAPABILITIES = (
        "migration.capabilities", "libvirt turned the case's capabilities on", Subjects.SIDE
    )  # fmt: skip
    MIGRATION_PARAMETERS = "migration.parameters", "QEMU holds the case's parameters", Subjects.SIDE

    IRQ_WATCHED = "irq.watched", "IRQ threads can be watched across the migration"
    IRQ_AFFINITY = "irq.affinity", "CPUs asked for by interrupts are kept"
    IRQ_EFFECTIVE_AFFINITY = "irq.effective-affinity", "effective CPUs of interrupts are kept"
    IRQ_THREAD_SCHEDULING = "irq.thread-scheduling", "affinity and priority of IRQ threads are kept"
    IRQ_THREAD = "irq.thread", "IRQ thread runs as expected", Subjects.INTERRUPT
    IRQ_ARRIVES = "irq.arrives", "interrupt arrives on its effective CPU", Subjects.INTERRUPT
    IRQ_FORBIDDEN_CPUS = "irq.forbidden-cpus", "interrupt and its thread keep off forbidden CPUs", Subjects.INTERRUPT
    IRQ_MASK_CHANGES = "irq.mask-changes", "interrupt follows changes of its mask", Subjects.INTERRUPT
    CASE_CLAIM = "case.claim", "what a case in Python claims itself", Subjects.CLAIM

    IRQ_LOAD = "irq.load", "the load of the guest runs all the time"

    UNKNOWN = "unknown", "a check of a record from before version 6, with a sentence that is not known any more"

    def say(self, subject: str = "", claim: str = "") -> str:
        """The sentence for people. ``claim``: where it says more than the table's.

        >>> CheckId.GUEST_CONSOLE.say("source"), CheckId.DEVICE_SEED.say("device 2")
        ('source: guest console is free of oopses', 'device seed is kept, device 2')
        """
        words = claim or self.claim
        if subject and self.subjects in (Subjects.SIDE, Subjects.PLACE):
            return f"{subject}: {words}"
        if self.subjects is Subjects.DEVICE and subject not in ("", name_device(0)):
            return f"{words}, {subject}"
        return words


def name_device(number: int) -> str:
    """The subject of a check that is about a device of the guest; ``number``: from 0."""
    return f"device {number + 1}"


_IDS = {str(one): one for one in CheckId}


def parse_check_id(text: str) -> CheckId:
    """An id as a record has it. One that this switchover does not know, of a later check, is kept as it is."""
    return _IDS.get(text, cast(CheckId, text))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Ids in records of older versions, which had sentences only: of checks before version 6, of endings before version 7.
It is about those records: what today's sentences are does not matter here, and nothing is added for what is new.
"""

import re

from switchover.record.checks import CheckId, Subjects, name_device
from switchover.record.ending import Ending

_SENTENCES = (
    ("guest is the same boot", CheckId.GUEST_BOOT_ID),
    ("guest memory keeps its canary", CheckId.GUEST_CANARY),
    ("connections to the guest survive the migration", CheckId.GUEST_CONNECTION_SURVIVES),
    ("guest (lets in a new login|answers over SSH) on the destination", CheckId.GUEST_NEW_LOGIN),
    ("guest console is free of oopses", CheckId.GUEST_CONSOLE),
    ("guest arrives (in the state that it left in|running: libvirt resumes one .*)", CheckId.GUEST_RUN_STATE),
    ("guest runs on the source", CheckId.GUEST_ON_SOURCE),
    ("guest does not run on the destination", CheckId.GUEST_NOT_ON_DESTINATION),
    ("guest sees the PCI functions that it was given", CheckId.GUEST_PCI_FUNCTIONS),
    ("guest drivers of PCI functions are kept", CheckId.GUEST_PCI_DRIVERS),
    ("device generation (is one more|is as before|counts its loads)", CheckId.DEVICE_GENERATION),
    ("device scratch registers are kept", CheckId.DEVICE_SCRATCH),
    ("device seed is kept", CheckId.DEVICE_SEED),
    ("device state checksum is the source's", CheckId.DEVICE_CHECKSUM),
    ("guest computes the same checksum", CheckId.DEVICE_CHECKSUM_BY_GUEST),
    ("device is set up again after its reset", CheckId.DEVICE_REINITIALISED),
    (r"interrupt of (the last vector|vector \d+) fires \(primary handler, thread\)", CheckId.DEVICE_INTERRUPT),
    ("no interrupt at a rate is lost", CheckId.DEVICE_INTERRUPTS_AT_A_RATE),
    ("every page written by DMA is whole", CheckId.DEVICE_DMA),
    ("the device writes by DMA while the migration goes on", CheckId.DEVICE_DMA_GOES_ON),
    ("QEMU holds the properties that it was given", CheckId.DEVICE_PROPERTIES),
    ("states by events are those of the device's history", CheckId.DEVICE_STATES),
    ("states by traces are those by events", CheckId.DEVICE_STATES_TRACED),
    ("pre-copy is used if it can be", CheckId.DEVICE_PRECOPY_USED),
    ("pre-copy is (on|off), as expected of the case", CheckId.DEVICE_PRECOPY_EXPECTED),
    ("initial bytes reported are all that the device has", CheckId.DEVICE_PRECOPY_INITIAL_BYTES),
    ("initial bytes are sent before dirty ones", CheckId.DEVICE_PRECOPY_INITIAL_FIRST),
    ("dirty bytes are reported, and read", CheckId.DEVICE_PRECOPY_DIRTY_BYTES),
    (r"pre-copy is read until the device is empty \(ENOMSG\)", CheckId.DEVICE_PRECOPY_ENOMSG),
    ("the estimate is never above the exact pending size", CheckId.DEVICE_PENDING_ESTIMATE),
    ("the last exact pending size is what stop-copy reads", CheckId.DEVICE_PENDING_EXACT),
    ("STOP_COPY comes only in the downtime", CheckId.DEVICE_STOP_COPY_IN_DOWNTIME),
    (
        "dirty bitmaps are asked for (only after the guest was stopped|while the guest runs)",
        CheckId.DEVICE_DIRTY_BITMAPS,
    ),
    ("traced pre-copy bytes equal the device's", CheckId.BYTES_VFIO_PRECOPY),
    ("traced stop-copy bytes equal the device's", CheckId.BYTES_VFIO_STOP_COPY),
    ("bytes read are initial, dirty and stop-copy ones", CheckId.BYTES_VFIO_ADDS_UP),
    ("destination's devices? took every byte", CheckId.BYTES_VFIO_LOADED),
    (
        "query-migrate's vfio.transferred (equals them|is these and what headers take)",
        CheckId.BYTES_VFIO_TRANSFERRED,
    ),
    ("wire - RAM - VFIO is what headers and other devices take", CheckId.BYTES_RESIDUAL),
    ("the outside hears nothing while no vCPU runs", CheckId.DOWNTIME_OUTSIDE),
    ("every fault was made", CheckId.MIGRATION_FAULTS),
    ("a second migration completes, with all its checks", CheckId.MIGRATION_AGAIN),
    ("libvirt turned the case's capabilities on", CheckId.MIGRATION_CAPABILITIES),
    ("QEMU holds the case's parameters", CheckId.MIGRATION_PARAMETERS),
    ("IRQ threads can be watched across the migration", CheckId.IRQ_WATCHED),
    ("CPUs asked for by interrupts are kept", CheckId.IRQ_AFFINITY),
    ("effective CPUs of interrupts are kept", CheckId.IRQ_EFFECTIVE_AFFINITY),
    ("affinity and priority of IRQ threads are kept", CheckId.IRQ_THREAD_SCHEDULING),
    (
        r"IRQ thread of interrupt (?P<irq>\d+) runs as expected, (on|through) the (?P<window>\w+)",
        CheckId.IRQ_THREAD,
    ),
    (r"interrupt (?P<irq>\d+) arrives on its effective CPU on the (?P<window>\w+)", CheckId.IRQ_ARRIVES),
    (r"interrupt (?P<irq>\d+) follows \d+ changes of its mask on the (?P<window>\w+)", CheckId.IRQ_MASK_CHANGES),
    ("the load of the guest runs all the time", CheckId.IRQ_LOAD),
)


def _compile(sentence: str, check: CheckId) -> re.Pattern[str]:
    before = r"((?P<place>(source|destination)( .+?)?): )?" if check.subjects in _WITH_PLACE else ""
    after = r"(, device (?P<device>\d+))?" if check.subjects is Subjects.DEVICE else ""
    return re.compile(f"{before}({sentence}){after}")


_WITH_PLACE = (Subjects.SIDE, Subjects.PLACE)
_PATTERNS = [(_compile(sentence, check), check) for sentence, check in _SENTENCES]


def find_by_sentence(sentence: str) -> tuple[CheckId, str]:
    """Id and subject of a check of an older record; :attr:`CheckId.UNKNOWN` of one that is not known.

    >>> find_by_sentence("device seed is kept, device 2")
    (<CheckId.DEVICE_SEED: 'device.seed'>, 'device 2')
    """
    for pattern, check in _PATTERNS:
        if match := pattern.fullmatch(sentence):
            return check, _name_subject(check, match.groupdict(default=""))
    return CheckId.UNKNOWN, ""


def _name_subject(check: CheckId, parts: dict[str, str]) -> str:
    match check.subjects:
        case Subjects.DEVICE:
            return name_device(int(parts["device"] or 1) - 1)
        case Subjects.INTERRUPT:
            window = parts["window"].replace("migration", "through")
            return f"{window} interrupt {parts['irq']}"
        case _:
            return parts.get("place", "")


_REASONS = (
    ("infrastructure-error", r"^not run\b", Ending.NOT_RUN),
    ("infrastructure-error", r"(^|: )interrupted$", Ending.INTERRUPTED),
    ("infrastructure-error", r"^the process of the case died\b", Ending.LOST),
    ("infrastructure-error", r"lab host \S+ (did not get to run|was stopped for)", Ending.HOST_STARVED),
    ("infrastructure-error", r"does not answer|connection .*(broke|closed|lost)|Lab host", Ending.HOST_LOST),
    ("crashed", r"by a signal|exit status -\d+", Ending.KILLED),
    ("hung", r"^ack-starved", Ending.ACK_STARVED),
    ("hung", r"^not converging", Ending.NOT_CONVERGING),
    ("hung", r"^no progress", Ending.NO_PROGRESS),
)


def find_ending_by_reason(verdict: str, reason: str) -> Ending:
    """How a repeat ended whose record is from before version 7.

    >>> find_ending_by_reason("hung", "ack-starved: pending 0 B is below the threshold")
    <Ending.ACK_STARVED: 'ack-starved'>
    """
    fitting = (ending for name, pattern, ending in _REASONS if name == verdict and re.search(pattern, reason))
    return next(fitting, Ending.BY_ITSELF)

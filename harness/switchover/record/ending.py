# SPDX-License-Identifier: GPL-2.0-or-later
"""How a repeat ended, as an id: for what goes by it, where the verdict's reason is a sentence for people."""

from enum import StrEnum, unique


@unique
class Ending(StrEnum):
    """What is known by type of how a repeat came to its verdict. Most repeats have :attr:`BY_ITSELF`."""

    BY_ITSELF = ""
    """it ended by itself, and its verdict tells all"""
    NOT_RUN = "not-run"
    """it was planned, and the run ended before it"""
    CALLED_OFF = "called-off"
    """it was planned, and somebody interrupted the run before it"""
    INTERRUPTED = "interrupted"
    """somebody interrupted the run while it went on"""
    LOST = "lost"
    """its process or its hosts were gone, and it left no record of its own"""
    HOST_LOST = "host-lost"
    """a host ended, hung, or could not be reached"""
    HOST_STARVED = "host-starved"
    """a lab host did not get to run, as the controller saw"""
    KILLED = "killed"
    """a signal ended a QEMU"""
    ACK_STARVED = "ack-starved"
    """it hung with little enough pending, and no switchover-ack came"""
    NOT_CONVERGING = "not-converging"
    """it hung with more pending than fits into the downtime limit"""
    NO_PROGRESS = "no-progress"
    """it hung, and no byte moved"""

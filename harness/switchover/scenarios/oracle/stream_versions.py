# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's stream of another version than that of the driver which is to load it. Pure."""

from collections.abc import Callable

from switchover.record.checks import CheckId
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.faults import LOADS
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import Traits

V = VerdictName
_LOAD = "images/modules/refdev/load.c: refdev_load_version"


def _meets(other_version: str) -> Callable[[Traits], bool]:
    """Whether a device of the destination gets a stream of another version, and makes this of it."""
    return lambda traits: any(
        saved.stream_version != loading.stream_version and loading.other_version == other_version
        for saved, loading in zip(traits.source.devices, traits.destination.devices, strict=False)
    )


def _mixes_up(traits: Traits) -> bool:
    """Only the first version has registers in other places."""
    return any(
        (saved.stream_version == 1) is not (loading.stream_version == 1) and loading.other_version == "misread"
        for saved, loading in zip(traits.source.devices, traits.destination.devices, strict=False)
    )


def _refuses(traits: Traits) -> bool:
    """With pre-copy the header is sent whether the migration converges or not."""
    return _meets("refused")(traits) and (traits.switches_over or traits.source.pre_copy)


REFUSED_VERSIONS = (
    make_rule(
        "stream-version-refused",
        "The destination's device refuses the version of the stream.",
        V.FAILED,
        "destination",
        reason=LOADS,
        because="the version is in the stream's header, and the errno of the write that brings it is that of the "
        "section",
        source=f"{_LOAD}; QEMU 10.0, migration/savevm.c: qemu_loadvm_section_part_end",
        when=_refuses,
    ),
)
READ_VERSIONS = (
    make_rule(
        "stream-version-misread",
        "The destination's device takes a stream of another version for one of its own, and one of both is the first.",
        V.CHECKS_FAILED,
        checks=(CheckId.DEVICE_SCRATCH,),
        because="neither version, length nor checksum of the stream is wrong: nothing fails, and registers have the "
        "values of others",
        source=_LOAD,
        when=_mixes_up,
    ),
    make_rule(
        "stream-version-read",
        "The destination's device reads a stream of another version as what it is.",
        V.COMPLETED,
        because="a driver may know more than one version",
        source=_LOAD,
        when=_meets("read"),
    ),
)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Which version of its definition a number has: numbers of different versions do not compare."""

from collections.abc import Mapping

_CHANGED_AT: Mapping[str, tuple[int, ...]] = {
    "bytes.vfio.precopy": (9,),
    "bytes.vfio.stop_copy": (9,),
    "downtime.outside": (9,),
    "downtime.outside.resume": (9,),
    "outside.stall": (9,),
}
"""By the number's name, the versions of the run directory with which it began to mean something else. At 9: heartbeats
that the guest sent before it stopped, and that left QEMU late, no longer end the silence; what is read of a device in
STOP_COPY is no byte of pre-copy, though QEMU was still iterating (a guest that is paused on the way)."""


def definition_version(name: str, schema_version: int) -> int:
    """From 1. ``schema_version``: of the record that holds the number."""
    return 1 + sum(schema_version >= changed for changed in _CHANGED_AT.get(name, ()))

# SPDX-License-Identifier: GPL-2.0-or-later
"""The standard question: the same device with its pre-copy off and on."""

from dataclasses import replace

from switchover.devices.reference import Knobs
from switchover.record.units import MIB
from switchover.run.case import Case

KNOBS = Knobs(initial_bytes=64 * MIB, stop_copy_bytes=1 * MIB, save_bytes_per_sec=64 * MIB)


def make_case(knobs: Knobs) -> Case:
    return Case(id=f"device.pre_copy={'on' if knobs.pre_copy else 'off'}", knobs=knobs)


PRE_COPY_OFF = make_case(replace(KNOBS, pre_copy=False))
PRE_COPY_ON = make_case(replace(KNOBS, pre_copy=True))

# SPDX-License-Identifier: GPL-2.0-or-later
"""The standard question: the same device with its pre-copy off and on."""

from dataclasses import replace

from switchover.devices.reference import Knobs
from switchover.record.units import MIB
from switchover.scenarios.case import Case, make_case, with_one_device

KNOBS = Knobs(initial_bytes=64 * MIB, stop_copy_bytes=1 * MIB, save_bytes_per_sec=64 * MIB)


def ask(knobs: Knobs) -> Case:
    return make_case(f"device.pre_copy={'on' if knobs.pre_copy else 'off'}", with_one_device(knobs))


PRE_COPY_OFF = ask(replace(KNOBS, pre_copy=False))
PRE_COPY_ON = ask(replace(KNOBS, pre_copy=True))

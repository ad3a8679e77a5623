# SPDX-License-Identifier: GPL-2.0-or-later
"""What measuring costs: pairs of arms."""

from switchover.bench.overhead import alternate, without_probes
from switchover.runner.standard import PRE_COPY_ON


def test_without_probes_nothing_is_measured() -> None:
    """Neither QEMU traces, and no heartbeats are sent; all else is the same case."""
    bare = without_probes(PRE_COPY_ON)
    assert (bare.source.guest.traced, bare.destination.guest.traced, bare.heartbeat_us) == (False, False, 0)
    assert (bare.source.devices, bare.settings) == (PRE_COPY_ON.source.devices, PRE_COPY_ON.settings)
    assert bare.id != PRE_COPY_ON.id


def test_arms_alternate() -> None:
    """Each pair has both arms, the other way round than the pair before: drift favours none."""
    order = [case.source.guest.traced for case in alternate(PRE_COPY_ON, 4)]
    assert order == [True, False, False, True] * 2

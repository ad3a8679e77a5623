# SPDX-License-Identifier: GPL-2.0-or-later
"""Many pairs of hosts: who may use which, and which case runs where (docs/leases.md).

What the rest of the harness uses of it:

- :func:`make_choice`: a pair of an inventory as a :class:`Choice`, with the names of all that it needs for itself.
- :class:`FlockBackend`, or :class:`LabgridBackend` where :func:`find_coordinator` finds one: both are a
  :class:`LeaseBackend`. ``backend.acquire(choices, timeout_s, waiting)`` is a :class:`Lease`, a context manager with
  ``pair``, ``waited_s`` and ``find_loss()``.
- :func:`run_jobs`: each :class:`Job` once, on many pairs at a time; one :class:`Outcome` for each, whatever happens.
  An execution that loses its pair raises :class:`PairLost`. What was set aside is a :class:`Quarantine`.
- :class:`HealthWatch`: why a host is not fit for the next case.
- :func:`read_durations`, :func:`estimate`: how long a case takes, from earlier runs.
- :func:`parse_shard`, :func:`select_shard`: a part of the cases for each of several machines.

:class:`LabgridBackend` is imported from its own module, which needs the extra ``labgrid`` when it is used.
"""

from switchover.runner.leases.durations import estimate, read_durations
from switchover.runner.leases.flocks import FlockBackend
from switchover.runner.leases.health import HealthWatch, find_ailment
from switchover.runner.leases.protocol import Abandoned, Holder, Lease, LeaseBackend, wait_for_lease
from switchover.runner.leases.quarantine import Quarantine
from switchover.runner.leases.resources import Choice, make_choice
from switchover.runner.leases.runner import Outcome, PairLost, run_jobs
from switchover.runner.leases.scheduling import Job
from switchover.runner.leases.shards import parse_shard, select_shard

__all__ = [
    "Abandoned",
    "Choice",
    "FlockBackend",
    "HealthWatch",
    "Holder",
    "Job",
    "Lease",
    "LeaseBackend",
    "Outcome",
    "PairLost",
    "Quarantine",
    "estimate",
    "find_ailment",
    "make_choice",
    "parse_shard",
    "read_durations",
    "run_jobs",
    "select_shard",
    "wait_for_lease",
]

# SPDX-License-Identifier: GPL-2.0-or-later
"""How slow lab hosts are, against the machine that deadlines were made on: a fixed piece of work, timed.

A slow machine is not a failure: all deadlines of a lab's hosts and guests are that many times as long
(:func:`switchover.hosts.waiting.paced`). What is timed are forks and a checksum, since starting processes and plain
arithmetic are what guests and their SSH spend an emulated CPU on.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from switchover.hosts.host import Host

WORK = "i=0; while [ $i -lt 40 ]; do /bin/true; i=$((i+1)); done; head -c 4000000 /dev/zero | sha256sum >/dev/null"
REFERENCE_S = 0.6
"""What the work takes in two lab hosts at once, on the two cores that deadlines were made on, under TCG: 0.5 s of CPU
(schedstat of their QEMUs, 0.48 to 0.57 s in six rounds), 0.4 to 0.7 s of time while little else ran."""
MOST = 6.0
"""A lab that is slower still is not waited for any longer."""
CLEARLY = 1.3
"""The same machine differs by less from one time to the next; below it the pace is 1."""
_ROUNDS = 3
_TIMEOUT_S = 60


def measure_pace(hosts: Sequence[Host]) -> float:
    """Of lab hosts that all do the work at once, as they do in a migration: the slower one counts.

    Of several rounds the quickest counts, since what else the machine does for a moment says nothing about later.

    :raises CommandFailed: a host does not get through the work in any time that could be waited for
    """

    def work(host: Host) -> float:
        start = time.monotonic()
        host.run(["sh", "-c", WORK], timeout=_TIMEOUT_S)
        return time.monotonic() - start

    with ThreadPoolExecutor(len(hosts), "pace") as threads:
        return judge_pace(min(max(threads.map(work, hosts)) for _ in range(_ROUNDS)))


def judge_pace(seconds: float) -> float:
    """The pace, from the time that the work took. Pure.

    >>> judge_pace(0.3), judge_pace(0.7), judge_pace(1.44), judge_pace(100)
    (1.0, 1.0, 2.4, 6.0)
    """
    factor = min(MOST, round(seconds / REFERENCE_S, 1))
    return factor if factor >= CLEARLY else 1.0


def describe_pace(pace: float) -> str:
    """For people; empty if there is nothing to say. Pure."""
    if pace <= 1:
        return ""
    return (
        f"lab hosts are {pace:g} times as slow as the machine that deadlines were made on: "
        "deadlines are that much longer"
    )

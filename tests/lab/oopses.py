# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel complained of."""

from switchover import Host


def list_oopses(host: Host) -> list[str]:
    script = "dmesg | grep -E 'BUG:|Oops|WARNING:|INFO: (rcu|task)|Call Trace|general protection'; true"
    return host.run(["sh", "-c", script]).text.splitlines()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts of a host that a record is worth nothing without."""

from switchover.hosts.host import Host

_SCRIPT = r"""
echo "kernel=$(uname -rv)"
echo "machine=$(uname -m)"
echo "cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
echo "cpus=$(grep -c ^processor /proc/cpuinfo)"
echo "memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
for program; do echo "sha256 $program=$(sha256sum "$(command -v "$program")" | cut -d' ' -f1)"; done
"""


def read_facts(host: Host, *programs: str) -> dict[str, str]:
    """Kernel, CPU and memory of a host, and the SHA-256 of programs on it."""
    lines = host.run(["sh", "-c", _SCRIPT, "sh", *programs], timeout=60).text.splitlines()
    return {"host": host.name, **dict(line.split("=", 1) for line in lines if "=" in line)}

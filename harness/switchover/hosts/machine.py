# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host is: kernel, CPU, memory, limits, IOMMU, VFIO, the programs that the harness runs there. One command."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from switchover.hosts.host import Host

PROGRAMS = ("bash", "setpriv", "socat", "ip", "sha256sum", "perl")
"""What the harness runs on hosts besides the shell's own and coreutils: clocks (bash), processes that end with their
connection (setpriv), unix sockets (socat), taps (ip), digests, migration flags (perl)."""
MODULES = ("vfio", "vfio_pci", "vfio_iommu_type1", "mdev", "iommufd", "kvm_amd", "kvm_intel")

# builtins where they do: a process costs tens of milliseconds on a lab host
_SCRIPT = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
say kernel "$(uname -rv)"
say machine "$(uname -m)"
say uid "$(id -u)"
say clock_ns "$(date +%s%N)"
say memlock "$(ulimit -l)"
read -r line </proc/cmdline && say cmdline "$line"
read -r line </proc/sys/kernel/random/boot_id && say boot_id "$line"
grep -m 1 '^model name' /proc/cpuinfo
say cpus "$(grep -c ^processor /proc/cpuinfo)"
grep -E '^Mem(Total|Available):' /proc/meminfo
for path in /sys/kernel/mm/hugepages/hugepages-*kB; do
    read -r total <"$path/nr_hugepages" && read -r free <"$path/free_hugepages" && say "${path##*/}" "$total $free"
done
for path in /sys/class/iommu/*; do [ -e "$path" ] && say iommu "${path##*/}"; done
[ -e /dev/kvm ] && say kvm present && [ -r /dev/kvm ] && [ -w /dev/kvm ] && say kvm usable
for path in /dev/vfio/vfio /dev/iommu; do [ -e "$path" ] && say node "$path"; done
for name in MODULES; do [ -d "/sys/module/$name" ] && say module "$name"; done
for name in PROGRAMS; do command -v "$name" >/dev/null && say program "$name"; done
for path in /sys/module/kvm_amd/parameters/nested /sys/module/kvm_intel/parameters/nested; do
    [ -r "$path" ] && read -r line <"$path" && say nested "$line"
done
for name; do
    digest=$(sha256sum <"$(command -v "$name")") && say sha256 "${digest%% *} $name"
done
exit 0
"""


@dataclass(frozen=True)
class Hugepages:
    """Huge pages of one size (in KiB)."""

    size_kib: int
    total: int
    free: int


@dataclass(frozen=True)
class Machine:
    """A host's facts. Sizes in bytes; what the host did not tell is None or empty."""

    host: str
    kernel: str
    """Release and version, as ``uname -rv`` has them."""
    machine: str
    cmdline: str
    boot_id: str
    cpu: str
    cpus: int
    memory: int | None
    memory_available: int | None
    memlock: int | None
    """Limit of locked memory for what the harness starts there; None: no limit. ``uid`` 0 is not bound by it."""
    uid: int
    hugepages: tuple[Hugepages, ...]
    iommus: tuple[str, ...]
    """IOMMUs that are on (``dmar0``, ``ivhd0``)."""
    kvm: str
    """``usable``: this user may open /dev/kvm, which does not show that it works; ``present``; or empty."""
    nested: bool | None
    nodes: tuple[str, ...]
    modules: tuple[str, ...]
    """Of :data:`MODULES`, those that are loaded or built in."""
    programs: tuple[str, ...]
    """Of :data:`PROGRAMS`, those that are there."""
    clock_offset_s: float
    """Its clock minus the controller's, give or take ``clock_bound_s``."""
    clock_bound_s: float
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by program, of those that were asked for and are there."""

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number of the kernel; (0, 0) if it is named otherwise."""
        match = re.match(r"(\d+)\.(\d+)", self.kernel)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @property
    def iommu_options(self) -> tuple[str, ...]:
        """What the kernel's command line says of IOMMU and VFIO."""
        return tuple(word for word in self.cmdline.split() if re.search("iommu|vfio|default_hugepagesz|isolcpus", word))


def read_machine(host: Host, *digested: str) -> Machine:
    """``digested``: programs whose SHA-256 is wanted. :raises HostLost: the host does not answer"""
    script = _SCRIPT.replace("MODULES", " ".join(MODULES)).replace("PROGRAMS", " ".join(PROGRAMS))
    before = time.time_ns()
    text = host.run(["sh", "-c", script, "sh", *digested], timeout=60).text
    return parse_machine(host.name, text, before, time.time_ns())


def parse_machine(host: str, text: str, before_ns: int, after_ns: int) -> Machine:
    """From lines ``NAME=VALUE`` and lines of /proc. The two times: the controller's clock around the reading."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        # the shell's own lines have no blanks before the sign, those of /proc have a colon first
        match = re.match(r"([\w-]+)=(.*)", line) or re.match(r"([\w ]+?)\s*:\s*(.*)", line)
        if match:
            values.setdefault(match[1], []).append(match[2].strip())

    def first(name: str) -> str:
        return values.get(name, [""])[0]

    clock = _number(first("clock_ns"))
    middle = (before_ns + after_ns) // 2
    return Machine(
        host=host,
        kernel=first("kernel"),
        machine=first("machine"),
        cmdline=first("cmdline"),
        boot_id=first("boot_id"),
        cpu=first("model name"),
        cpus=_number(first("cpus")) or 0,
        memory=_kib(first("MemTotal").removesuffix(" kB")),
        memory_available=_kib(first("MemAvailable").removesuffix(" kB")),
        memlock=_kib(first("memlock")),
        uid=-1 if (uid := _number(first("uid"))) is None else uid,
        hugepages=_parse_hugepages(values),
        iommus=tuple(values.get("iommu", ())),
        kvm=values.get("kvm", [""])[-1],
        nested=first("nested") in ("1", "Y") if "nested" in values else None,
        nodes=tuple(values.get("node", ())),
        modules=tuple(values.get("module", ())),
        programs=tuple(values.get("program", ())),
        clock_offset_s=0.0 if clock is None else (clock - middle) / 1e9,
        clock_bound_s=(after_ns - before_ns) / 2e9,
        digests={name: digest for digest, _, name in (line.partition(" ") for line in values.get("sha256", ()))},
    )


def _parse_hugepages(values: dict[str, list[str]]) -> tuple[Hugepages, ...]:
    pages = []
    for name, (value, *_) in values.items():
        if match := re.fullmatch(r"hugepages-(\d+)kB", name):
            total, free = [*map(_number, value.split()), None, None][:2]
            if total is not None and free is not None:
                pages.append(Hugepages(int(match[1]), total, free))
    return tuple(sorted(pages, key=lambda page: page.size_kib))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _kib(text: str) -> int | None:
    """Bytes of a number of KiB; None for ``unlimited`` and what is no number."""
    number = _number(text)
    return None if number is None else number * 1024

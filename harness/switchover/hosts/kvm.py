# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a host's KVM works, found by booting a kernel in it: a /dev/kvm that opens may still hang."""

import contextlib
from dataclasses import asdict, dataclass

import pydantic

from switchover.hosts.host import Host
from switchover.hosts.machine import Machine
from switchover.record.cache import keep, read_cached
from switchover.record.errors import CommandFailed

TIMEOUT_S = 120
"""A nested KVM under emulation takes 10 to 25 s to boot the kernel, longer on a busy machine."""
_KERNELS = ("/boot/vmlinuz-$(uname -r)", "/lib/modules/$(uname -r)/vmlinuz", "/usr/lib/switchover/guest/vmlinuz")
_BOOTED = "Kernel panic - not syncing"
_SCRIPT = f"""
for kernel in {" ".join(f'"{path}"' for path in _KERNELS)}; do [ -r "$kernel" ] && break; done
[ -r "$kernel" ] || exit 66
exec timeout -s KILL {TIMEOUT_S} "$1" -nodefaults -no-user-config -display none -no-reboot -machine q35 -m 256 \\
    -accel kvm -cpu host -kernel "$kernel" -append "console=ttyS0 panic=-1 loglevel=1" -serial stdio </dev/null 2>&1
"""


@dataclass(frozen=True)
class KvmProbe:
    """``works``: None if it could not be tried, and ``reason``."""

    works: bool | None
    reason: str


_KEPT = pydantic.TypeAdapter(KvmProbe)


def probe_kvm(host: Host, machine: Machine, qemu: str = "qemu-system-x86_64") -> KvmProbe:
    """Boot a kernel of the host's own without a root file system: it ends in a panic, which shows that it ran.

    That it works is kept until the host boots again; that it does not may have been the load, and is tried again.

    :raises HostLost: the host does not answer
    """
    if machine.kvm != "usable":
        there = "this user may not open /dev/kvm" if machine.kvm else "there is no /dev/kvm"
        return KvmProbe(False, there)
    key = f"{machine.boot_id} {qemu}"
    with contextlib.suppress(pydantic.ValidationError):
        return _KEPT.validate_python(read_cached("kvm", key))
    probe = _boot(host, qemu)
    if probe.works and machine.boot_id:
        keep("kvm", key, asdict(probe))
    return probe


def _boot(host: Host, qemu: str) -> KvmProbe:
    try:
        completed = host.run(["sh", "-c", _SCRIPT, "sh", qemu], timeout=TIMEOUT_S + 20, check=False)
    except CommandFailed as error:
        return KvmProbe(False, error.what)
    if _BOOTED in completed.text:
        return KvmProbe(True, "a kernel boots in it")
    match completed.returncode:
        case 66:
            return KvmProbe(None, f"no kernel to try it with ({', '.join(_KERNELS)})")
        case 126 | 127:
            return KvmProbe(None, f"{qemu} is not there to try it with")
        case 0:
            return KvmProbe(False, "/dev/kvm opens, but no kernel boots in it")
        case 137 | -9 | -1:
            return KvmProbe(False, f"/dev/kvm opens, but a kernel did not boot in it within {TIMEOUT_S} s")
    lines = completed.text.strip().splitlines()
    return KvmProbe(False, f"QEMU says: {lines[-1] if lines else f'exit status {completed.returncode}'}")

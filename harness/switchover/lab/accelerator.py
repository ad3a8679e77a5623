# SPDX-License-Identifier: GPL-2.0-or-later
"""Which accelerator a lab host can have, found by running one: a /dev/kvm that opens may still not work."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from switchover.hosts import processes
from switchover.lab.images import Image
from switchover.record.errors import CommandFailed
from switchover.record.log import LOG
from switchover.record.paths import cache_directory

PROBE_TIMEOUT_S = 12
PROBE_ANSWER = "switchover-labhost: nested virtualisation"
TCG_ACCEL = "tcg,tb-size=1024"
TCG_CPU = "max,la57=off,erms=off,fsrm=off"
TCG_GUEST_WORDS = "pci=lastbus=0 init_on_free=1 cryptomgr.notests"
"""A kernel in q35 asks all 256 buses of MMCONFIG for peer bridges, each time by an exit to QEMU; one bus is enough,
since those behind ports are found by ACPI (arch/x86/pci/legacy.c). Pages that are freed are zeroed, and move as such.
And it tests its ciphers against known answers (crypto/algboss.c), which is work for a CPU that is emulated. Figures:
docs/lab.md, What makes the lab quick."""


@dataclass(frozen=True)
class Accelerator:
    """QEMU's ``-accel`` and ``-cpu`` for a lab host, how many vCPUs it may have, and why this one was chosen.

    ``guest_words``: for the kernel command line of the lab's guests, which they boot faster with on such a lab host;
    ``words``: for that of the lab host.
    """

    accel: str
    cpu: str
    vcpus: int
    reason: str
    guest_words: str = ""
    words: str = ""


def tcg(reason: str) -> Accelerator:
    """Emulation, which gives the lab host AMD's SVM: guests inside run with KVM.

    Exactly one vCPU: with more, guests corrupted the lab host's memory (QEMU 10.0 and 11.1 alike). Without ERMS and
    FSRM: with them the kernel copies by ``rep movsb``, which TCG carries out a byte at a time (docs/lab.md, What makes
    the lab quick).
    """
    return Accelerator(TCG_ACCEL, TCG_CPU, 1, reason, TCG_GUEST_WORDS)


def find_accelerator(labhost: Image, qemu: str) -> Accelerator:
    """KVM with nested virtualisation if a kernel boots in it within some seconds, else TCG.

    ``qemu``: the program that lab hosts are to run in, in an image. The answer is kept until the machine boots again or
    another kernel, QEMU, emulated CPU or words for guests are used.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return tcg("there is no /dev/kvm that this user may open")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot} {labhost.digest} {qemu} {json.dumps(asdict(tcg('')))}"
    cache = cache_directory() / "accelerator.json"
    if (kept := _read_cached(cache, key)) is not None:
        return kept
    found = _probe_kvm(qemu, labhost)
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"key": key, "accelerator": asdict(found)}))
    temporary.replace(cache)
    return found


def _read_cached(cache: Path, key: str) -> Accelerator | None:
    try:
        kept = json.loads(cache.read_text())
        return Accelerator(**kept["accelerator"]) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _probe_kvm(qemu: str, labhost: Image) -> Accelerator:
    """Boot the lab host's kernel with KVM as far as its initramfs, which says what the CPU offers and powers off."""
    argv = [
        *(qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "512", "-smp", "1"),
        *("-kernel", str(labhost.artifact("vmlinuz")), "-initrd", str(labhost.artifact("initramfs.cpio"))),
        *("-append", "console=ttyS0 quiet panic=-1 switchover.probe", "-serial", "stdio"),
    ]
    try:
        output = processes.run(argv, timeout=PROBE_TIMEOUT_S, check=False).stdout.decode(errors="replace")
    except CommandFailed:
        return tcg(f"/dev/kvm opens, but a kernel started in it did not answer within {PROBE_TIMEOUT_S} s")
    LOG.debug("accelerator probe: %s", output[-300:])
    if f"{PROBE_ANSWER} yes" in output:
        # one lab host with two vCPUs each leaves the controller its share; not verified on a machine with nested KVM
        return Accelerator("kvm", "host", 2, "a kernel boots in /dev/kvm, with nested virtualisation")
    if f"{PROBE_ANSWER} no" in output:
        return tcg("a kernel boots in /dev/kvm, but without nested virtualisation, which guests of a lab host need")
    return tcg("/dev/kvm opens, but no kernel boots in it")

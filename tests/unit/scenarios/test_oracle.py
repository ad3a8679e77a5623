# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of the oracle: each fits the case that it is about, and not the same case put right."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.hardware_examples import HARDWARE_EXAMPLES
from tests.unit.scenarios.samples import plan
from tests.unit.scenarios.transport_examples import TRANSPORT_EXAMPLES

from switchover.devices.known_qemus import find_known_qemu
from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId, parse_check_id
from switchover.record.measurement import make_check
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.case import Case, SideSpec, make_case
from switchover.scenarios.expand import PlannedCase, expand
from switchover.scenarios.expectation import find_mismatch
from switchover.scenarios.oracle import DEFAULT, ORACLE, Rule, choose_rule, find_rule, make_traits
from switchover.scenarios.oracle.cpus import CONTROLS, list_controls
from switchover.scenarios.oracle.rule import quote
from switchover.scenarios.oracle.seen import read_seen
from switchover.scenarios.scenario import catalogue_directory, list_scenarios, load_scenario

V = VerdictName
ACK = 'migration.switchover_ack = "on"'
PAUSED = 'fault.action = "pause guest", fault.phase = "before"'
NO_RETURN = 'migration.return_path = "off"'
ACK_AT_SOURCE = f'{ACK}, migration.destination_capabilities.switchover-ack = "off"'
TWO = '[[devices]]\nid = "a"\n[[devices]]\nid = "b"\n'
LIBVIRT = 'driver = "libvirt"'

SECTION = "0000:00:03.0:00.0/vfio"
TRANSFER = "properties.x-migration-multifd-transfer"
MULTIFD = 'migration.capabilities.multifd = "on"'
ZLIB = 'migration.parameters.multifd-compression = "zlib"'
FUNCTION = 'device.pci = "0000:01:00.0"'
PLAIN, VARIANT = (f'{FUNCTION}, device.vfio_driver = "{driver}"' for driver in ("vfio-pci", "mlx5_vfio_pci"))

EXAMPLES = [
    *HARDWARE_EXAMPLES,
    *TRANSPORT_EXAMPLES,
    # rule, what the case sets, what puts it right, verdict, side, what QEMU or the harness would say
    ("enable-migration-on-without-migration", 'device.migration = "off"', 'device.migration = "on"', V.REFUSED, "",
     "d: VFIO migration is not supported in kernel"),
    ("enable-migration-on-without-migration", 'destination.device.migration = "off"', "", V.REFUSED, "",
     "d: VFIO migration init failed: migration is not supported in kernel"),
    ("enable-migration-on-with-generic-driver", f'{PLAIN}, destination.device.properties.enable-migration = "on"',
     VARIANT, V.REFUSED, "",
     "0000:01:00.0: VFIO migration is not supported in kernel"),
    ("generic-vfio-pci-driver", PLAIN, VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: VFIO migration is not supported in kernel"),
    ("enable-migration-off", f'{VARIANT}, device.properties.enable-migration = "off"', VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: Migration is disabled for VFIO device"),
    ("postcopy-with-vfio", f'{VARIANT}, migration.capabilities.postcopy-ram = "on"', VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: VFIO migration is not supported with postcopy migration"),
    ("enable-migration-on-without-stop-copy", 'device.stop_copy = "off"', "", V.REFUSED, "",
     "d: Migration couldn't be initialized for VFIO device, err: -95 (Operation not supported)"),
    ("ack-without-return-path", f"{ACK}, {NO_RETURN}", ACK, V.REFUSED, "",
     "Capability 'switchover-ack' requires capability 'return-path'"),
    ("background-snapshot-with-return-path", 'migration.capabilities.background-snapshot = "on"', "", V.REFUSED, "",
     "Background-snapshot is not compatible with return-path"),
    ("enable-migration-off", 'device.properties.enable-migration = "off"', "", V.BLOCKED, "source",
     "0000:01:00.0: Migration is disabled for VFIO device"),
    ("no-migration-in-kernel", 'device.properties.enable-migration = "auto", device.migration = "off"', "",
     V.BLOCKED, "source", "d: VFIO migration is not supported in kernel"),
    ("no-dirty-tracking", 'device.properties.enable-migration = "auto"', "", V.BLOCKED, "source",
     "d: VFIO device doesn't support device and IOMMU dirty tracking"),
    ("no-dirty-tracking", 'device.properties.enable-migration = ""', "", V.BLOCKED, "source",
     "d: VFIO device doesn't support device and IOMMU dirty tracking"),
    ("postcopy-with-vfio", 'migration.capabilities.postcopy-ram = "on"', "", V.BLOCKED, "source",
     "d: VFIO migration is not supported with postcopy migration"),
    ("background-snapshot-with-vfio", f'migration.capabilities.background-snapshot = "on", {NO_RETURN}', NO_RETURN,
     V.BLOCKED, "source", "d: VFIO migration is not supported with background snapshot"),
    ("other-machine", 'source.machine = "pc-q35-9.2,usb=off", destination.machine = "pc-q35-10.0"',
     'source.machine = "q35", destination.machine = "pc-q35-10.0"', V.FAILED, "destination",
     "Machine type received is 'pc-q35-9.2' and local is 'pc-q35-10.0'"),
    ("other-memory", "destination.memory_mib = 128", "memory_mib = 128", V.FAILED, "destination",
     "Size mismatch: pc.ram: 0x10000000 != 0x8000000: Invalid argument"),
    ("libvirt-other-machine", f'{LIBVIRT}, source.machine = "pc-q35-9.2", destination.machine = "pc-q35-10.0"', LIBVIRT,
     V.BLOCKED, "source", "unsupported: Target domain machine type pc-q35-10.0 does not match source pc-q35-9.2"),
    ("libvirt-other-memory", f"{LIBVIRT}, destination.memory_mib = 128", LIBVIRT, V.BLOCKED, "source",
     "unsupported: Target domain max memory 131072 does not match source 262144"),
    ("source-killed", 'fault.action = "kill source", fault.phase = "active"', "", V.CRASHED, "source", "SIGKILL"),
    ("destination-killed", 'fault.action = "kill destination", fault.phase = "active"', "", V.CRASHED, "destination",
     "SIGKILL"),
    ("guest-panics", 'fault.action = "panic guest", fault.phase = "active"', "", V.CRASHED, "source",
     "Kernel panic - not syncing"),
    *(("cancelled", 'fault.action = "cancel", fault.phase = "active"',
       'fault.action = "cancel", fault.phase = "before"', V.CANCELLED, "source", words)
      for words in ("", "Channel error: Input/output error",
                    "operation aborted: job 'migration out' canceled by client")),
    ("link-cut", 'fault.action = "cut link", fault.phase = "active"',
     'fault.action = "slow link", fault.phase = "active"', V.HUNG, "destination",
     "no progress at the destination: status device, nothing is sent, and neither QEMU writes to its log, for 10 s"),
    *(("device-fails-state-change-at-source", f'{more}source.device.fail_at = "{state}"',
       f'{more}source.device.fail_at = "none"', V.FAILED, "source",
       f"failed: 776a: Failed setting device state to {state}. {recovery}: Input/output error")
      for more, state, recovery in (
          ("", "PRE_COPY", "Setting device in recover state RUNNING"),
          ("", "PRE_COPY_P2P", "Recover state is ERROR. Resetting device"),
          ("", "STOP_COPY", "Recover state is ERROR. Resetting device"),
          ('device.pre_copy = "off", ', "STOP", "Recover state is ERROR. Resetting device"),
      )),
    ("device-fails-read", 'source.device.fail_at = "read:4096"', 'source.device.fail_at = "none"',
     V.FAILED, "source", "failed: Channel error: Input/output error"),
    *(("device-fails-state-change-at-destination", f'destination.device.fail_at = "{state}"',
       'destination.device.fail_at = "none"', V.FAILED, "destination", words)
      for state, words in (
          ("RESUMING", f"failed: Load state of device {SECTION} failed: 99b4: Failed setting device state to RESUMING. "
                       "Setting device in recover state RUNNING: Input/output error; load of migration failed: I…"),
          ("RUNNING_P2P", "failed: load of migration failed: Invalid argument"),
      )),
    *(("device-fails-write", 'destination.device.fail_at = "write:4096"', 'source.device.fail_at = "none"',
       V.FAILED, "destination", words)
      for words in (f"failed: error while loading state section id 45({SECTION}); load of migration failed: Input/o…",
                    "failed: load of migration failed: Input/output error")),
    ("device-refuses-stream", 'source.device.corrupt = "stream"', 'source.device.corrupt = "none"',
     V.FAILED, "destination",
     f"failed: error while loading state section id 43({SECTION}); load of migration failed: Invalid argument"),
    ("other-device-type", 'destination.device.type = "refdev-16vec"', 'device.type = "refdev-16vec"',
     V.FAILED, "destination",
     f"failed: error while loading state section id 45({SECTION}); load of migration failed: Invalid argument"),
    *(("device-fails-once-it-is-loaded", f'destination.device.fail_at = "{point}"', 'source.device.fail_at = "RUNNING"',
       V.CHECKS_FAILED, "", "device.generation")
      for point in ("load", "RUNNING")),
    ("device-state-corrupt", 'destination.device.corrupt = "state"', 'source.device.corrupt = "none"', V.CHECKS_FAILED,
     "", "device.checksum-by-guest"),
    ("ack-with-pre-copy-at-source-only", f'{ACK}, destination.device.pre_copy = "off"',
     'destination.device.pre_copy = "off"', V.FAILED, "destination",
     "d: Received INIT_DATA_SENT but switchover ack is not used"),
    *(("ack-with-pre-copy-at-destination-only", wrong, right, V.HUNG, "source",
       "ack-starved: pending 0 B is below the threshold")
      for wrong, right in (
          (f'{ACK}, source.device.pre_copy = "off"', f'{ACK}, device.pre_copy = "off"'),
          (f'{ACK}, source.device.allow_pre_copy = "off"', f'{ACK}, device.allow_pre_copy = "off"'),
          (f'{LIBVIRT}, source.device.pre_copy = "off"', 'source.device.pre_copy = "off"'),
      )),
    ("ack-at-source-only", ACK_AT_SOURCE, 'migration.destination_capabilities.switchover-ack = "on"', V.FAILED,
     "destination", "d: Received INIT_DATA_SENT but switchover ack is not used"),
    ("ack-at-source-only-without-pre-copy", f'{ACK_AT_SOURCE}, device.pre_copy = "off"', 'device.pre_copy = "off"',
     V.HUNG, "source", "ack-starved: pending 0 B is below the threshold"),
    *(("multifd-transfer-without-multifd", f'device.{TRANSFER} = "on"{more}', f'device.{TRANSFER} = "on", {MULTIFD}',
       V.FAILED, "destination", f"Load state of device {SECTION} failed: d: Multifd device transfer requested but "
       "unsupported in the current config")
      for more in (
          "", f", {MULTIFD}, {ZLIB}", f', {MULTIFD}, migration.parameters.multifd-compression = "zstd"',
          f', {MULTIFD}, machine = "pc-q35-9.2"',
      )),
    ("multifd-transfer-without-multifd-at-destination",
     f'destination.device.{TRANSFER} = "on", source.device.{TRANSFER} = "off"',
     f'device.{TRANSFER} = "auto", {MULTIFD}',
     V.FAILED, "destination", "d: Multifd device transfer requested but unsupported in the current config"),
    ("multifd-transfer-without-multifd-at-source",
     f'source.device.{TRANSFER} = "on", destination.device.{TRANSFER} = "off"',
     f'device.{TRANSFER} = "auto", {MULTIFD}',
     V.FAILED, "source", "d: Multifd device transfer requested but unsupported in the current config"),
    ("multifd-transfer-at-source-only",
     f'source.device.{TRANSFER} = "on", {MULTIFD}, destination.device.{TRANSFER} = "off"', MULTIFD,
     V.FAILED, "destination", "d: got device state packet but not doing multifd transfer"),
    *(("multifd-transfer-at-source-only", f'{MULTIFD}, destination.device.{TRANSFER} = "off"', f'{MULTIFD}, {plain}',
       V.FAILED, "destination", "d: got device state packet but not doing multifd transfer")
      for plain in (ZLIB, f'device.{TRANSFER} = "off"', f'device.{TRANSFER} = "auto"', 'machine = "pc-q35-9.2"')),
    ("multifd-transfer-at-destination-only", f'{MULTIFD}, source.device.{TRANSFER} = "off"',
     f'source.device.{TRANSFER} = "off"', V.FAILED, "destination",
     "d: got DEV_CONFIG_STATE in main migration channel but doing multifd transfer"),
    ("multifd-transfer-at-destination-only",
     f'destination.device.{TRANSFER} = "on", {MULTIFD}, source.device.{TRANSFER} = "off"', "", V.FAILED, "destination",
     "d: got DEV_CONFIG_STATE in main migration channel but doing multifd transfer"),
    ("never-converges", 'device.pre_copy = "off", migration.downtime_limit_ms = 70', 'migration.downtime_limit_ms = 70',
     V.HUNG, "source", "not converging: pending 5.0 MiB stays above the threshold 4.3 MiB (70 ms at 64.0 MiB/s)"),
    ("never-converges", f'{ACK}, source.device.pre_copy = "off", migration.downtime_limit_ms = 70',
     "migration.downtime_limit_ms = 70", V.HUNG, "source", "not converging: pending 5.0 MiB stays above the threshold"),
    *(("longer-than-timeout", f'device.initial_bytes = "1 GiB", {knob} = "1 MiB"', 'device.initial_bytes = "1 GiB"',
       V.HUNG, "", "no end: status active, RAM remaining 4096 bytes, for 180 s")
      for knob in ("device.save_bytes_per_sec", "destination.device.load_bytes_per_sec")),
    *(("device-takes-too-long-for-one-call", f"{knob} = 60_000", f"{knob} = 1_000", V.HUNG, "destination",
       "no progress at the destination: status active, nothing is sent, and neither QEMU writes to its log, for 30 s")
      for knob in ("destination.device.load_initial_ms", "source.device.state_change_ms")),
    ("stream-version-refused", "source.device.stream_version = 1", "device.stream_version = 1", V.FAILED, "destination",
     f"failed: error while loading state section id 45({SECTION}); load of migration failed: Invalid argument"),
    ("stream-version-refused", "destination.device.stream_version = 1, destination.device.version_errno = 95",
     "device.stream_version = 1", V.FAILED, "destination", "failed: load of migration failed: Operation not supported"),
    ("stream-version-misread", 'source.device.stream_version = 1, destination.device.other_version = "misread"', "",
     V.CHECKS_FAILED, "", "device.scratch"),
    *(("device-reset-in-pre-copy", f"{does}, {when}", "", V.FAILED, "source", f"failed: {said}")
      for does in ('fault.action = "reset device"', 'fault.action = "reboot guest"')
      for when in ('fault.phase = "active"', "fault.at_s = 2")
      for said in ("Channel error: No such device", "d: data_fd out of sync")),
    ("guest-reboots-and-ends", 'fault.action = "reboot guest", fault.phase = "active", on_reboot = "shutdown"', "",
     V.CRASHED, "source", "migrate: the source QEMU on hosta ended with exit status 0."),
]  # fmt: skip


_LACKS = "Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices"


def unknown(section: str, number: int = 0) -> tuple[str, str]:
    """What 10.0 and 11.1 say of a section that nobody takes."""
    return (
        f"failed: Unknown savevm section or instance '{section}' {number}. {_LACKS}; load of migration failed: I…",
        f"failed: load of migration failed: I…: Unknown section or instance '{section}' {number}. {_LACKS}",
    )


DIFFERING = [
    *(("fewer-vcpus-at-destination", f"source.vcpus = {more}, destination.vcpus = {fewer}", f"vcpus = {more}",
       V.FAILED, "destination", words)
      for more, fewer, words in ((2, 1, unknown("cpu_common", 1)[0]), (4, 3, unknown("apic", 3)[1]))),
    ("more-vcpus-at-destination", "destination.vcpus = 2", "vcpus = 2", V.FAILED, "destination",
     "failed: Missing section footer for 0000:00:1f.0/ICH9LPC; load of migration failed: Invalid argument"),
    ("kvm-to-tcg", 'cpu = "qemu64", destination.accel = "tcg"', 'cpu = "qemu64", accel = "tcg"', V.FAILED,
     "destination",
     unknown("kvmclock")[0]),
    *(("host-cpu-without-kvm", f'{side}accel = "{accel}"', 'accel = "tcg", cpu = "max"',
       V.REFUSED, "", f"start: {text}")
      for side, accel, text in (
          ("", "tcg", "CPU model 'host' requires KVM or HVF"),
          ("", "tcg,thread=single", "CPU model 'host' requires KVM or HVF"),
          ("destination.", "tcg", "CPU model 'host' requires KVM or HVF"),
          (f"{LIBVIRT}, ", "tcg", "CPU mode 'host-passthrough' for x86_64 qemu domain on x86_64 host is not supported"),
      )),
    *(("lesser-cpu-at-destination", f'source.cpu = "{more}", destination.cpu = "{less}"',
       f'source.cpu = "{less}", destination.cpu = "{more}"', V.FAILED, "destination",
       "failed: Putting registers after init: Failed to set special registers: Invalid argument")
      for more, less in (
          ("host", "qemu64"), ("max", "kvm64"), ("Skylake-Client", "Nehalem"), ("Skylake-Client-v3", "Westmere"),
          ("host", "host,-smep"), ("host", "host,smap=off"), ("EPYC-Milan", "Opteron_G3"), ("Haswell-noTSX",
           "SandyBridge"),
          ("Nehalem,+xsave", "Nehalem"),
      )),
    *(("machine-part-at-source-only", f'destination.machine = "{here}{off}"', f'source.machine = "{here}{off}"',
       V.FAILED, "destination", words)
      for here, off, words in (
          ("q35,", "hpet=off", unknown("hpet")[0]), ("q35,", "hpet=false", unknown("hpet")[1]),
          ("q35,", "i8042=off", unknown("ps2kbd")[0]), ("q35,", "pic=off", unknown("i8259")[0]),
          ("q35,", "pit=no", unknown("i8254")[0]), ("q35,", "sata=off", unknown("0000:00:1f.2/ich9_ahci")[0]),
          ("q35,", "smbus=off", unknown("i2c_bus")[0]), ("q35,", "vmport=off", unknown("vmmouse")[0]),
          ("q35,dump-guest-core=off,", "hpet=off", unknown("hpet")[0]),
      )),
    ("machine-part-at-source-only", 'source.machine = "q35,usb=on"', 'destination.machine = "q35,usb=on"',
     V.FAILED, "destination", unknown("0000:00:1d.7/ehci")[0]),
    ("machine-acpi-at-source-only", 'destination.machine = "q35,acpi=off"', 'source.machine = "q35,acpi=off"',
     V.FAILED, "destination", 'failed: Unknown ramblock "/rom@etc/acpi/tables", cannot accept migration'),
    *(("blank-in-machine", f'{side}.machine = "{machine}"', 'machine = "pc-q35-10.0,usb=off"', V.REFUSED, "", words)
      for side, machine, words in (
          ("destination", "pc-q35-10.0 -global virtio-net-pci.host_uso=off",
           "start: Invalid parameter 'pc-q35-10.0 -global virtio-net-pci.host_uso'"),
          ("source", "q35,usb=off -global x.y=on", "start: Parameter 'usb' expects 'on' or 'off'"),
          ("source", "q35 ", 'start: unsupported machine type: "q35 "'),
      )),
    *(("wrong-machine-option", f'{side}.machine = "q35,{option}"', f'{side}.machine = "q35,mem-merge=off"', V.REFUSED,
       "",
       words)
      for side, option, words in (
          ("source", "hept=off", "start: Property 'pc-q35-10.0-machine.hept' not found"),
          ("destination", "hpet=maybe", "start: Parameter 'hpet' expects 'on' or 'off'"),
      )),
    *(("device-not-migratable-at-destination", wrong, right, V.FAILED, "destination", unknown(SECTION)[0])
      for wrong, right in (
          ('destination.device.properties.enable-migration = "off"', ""),
          ('destination.device.properties.enable-migration = "auto", destination.device.migration = "off"',
           'destination.device.properties.enable-migration = "auto"'),
          ('destination.device.properties.enable-migration = "", destination.device.stop_copy = "off"',
           'destination.device.properties.enable-migration = ""'),
          (VARIANT.replace("device.vfio", "source.device.vfio") + ', destination.device.vfio_driver = "vfio-pci"',
           VARIANT),
      )),
    ("no-stop-copy-in-kernel", 'device.properties.enable-migration = "auto", device.stop_copy = "off"', "", V.BLOCKED,
     "source", "d: Migration couldn't be initialized for VFIO device, err: -95 (Operation not supported)"),
    ("other-slots", 'source.disk = "/d", kernel = "/k"', 'disk = "/d", kernel = "/k"', V.FAILED,
     "destination", unknown("0000:00:01.0/virtio-blk")[0]),
    *(("other-machine", f'source.machine = "{here}", destination.machine = "{there}"', f'machine = "{here}"',
       V.FAILED, "destination", "Machine type received is 'pc-q35-10.0' and local is 'pc-i440fx-10.0'")
      for here, there in (("q35", "pc"), ("q35", "pc-q35-9.2"), ("pc-i440fx-10.0", "q35"))),
    ("other-machine", 'source.qemu = "qemu-10.0", destination.qemu = "qemu-11.1"',
     'source.qemu = "qemu-11.1", destination.qemu = "qemu-10.0", machine = "pc-q35-10.0"', V.FAILED, "destination",
     "post load hook failed for: configuration: Machine type received is 'pc-q35-10.0' and local is 'pc-q35-11.1'"),
]  # fmt: skip
"""What the two sides are made of."""

CAPABILITY = "migration.capabilities."
ONLY_THERE = "migration.destination_capabilities."
ZERO_COPY = "Zero copy only available for non-compressed non-TLS multifd migration"
SEEKABLE = "Migration requires seekable transport (e.g. file)"
CREDS = 'migration.parameters.tls-creds = "tls0"'
SETTINGS = [
    *(("zero-copy-send-without-plain-multifd", f'{CAPABILITY}zero-copy-send = "on"{more}',
       f'{CAPABILITY}zero-copy-send = "on", {MULTIFD}', V.REFUSED, "", f"migrate: {ZERO_COPY}")
      for more in ("", f", {MULTIFD}, {ZLIB}", f", {MULTIFD}, {CREDS}", f', {MULTIFD}, {CAPABILITY}xbzrle = "on"')),
    ("zero-copy-send-without-plain-multifd", f'{ONLY_THERE}zero-copy-send = "on"', MULTIFD, V.REFUSED, "", ZERO_COPY),
    ("multifd-with-postcopy", f'{MULTIFD}, {CAPABILITY}postcopy-ram = "on"', MULTIFD, V.REFUSED, "",
     "Postcopy is not yet compatible with multifd"),
    ("multifd-with-xbzrle", f'{MULTIFD}, {CAPABILITY}xbzrle = "on"', f'{CAPABILITY}xbzrle = "on"', V.REFUSED, "",
     "Multifd is not compatible with xbzrle"),
    ("postcopy-preempt-without-postcopy", f'{CAPABILITY}postcopy-preempt = "on"', "", V.REFUSED, "",
     "Postcopy preempt requires postcopy-ram"),
    ("dirty-limit-without-dirty-ring", f'{CAPABILITY}dirty-limit = "on"', "", V.REFUSED, "",
     "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set"),
    ("mapped-ram-with-xbzrle-or-postcopy", f'{CAPABILITY}mapped-ram = "on", {CAPABILITY}xbzrle = "on"', "", V.REFUSED,
     "",
     "Mapped-ram migration is incompatible with xbzrle"),
    *(("parameter-out-of-range", f"migration.parameters.{name} = {value}", f"migration.parameters.{name} = {right}",
       V.REFUSED, "", words)
      for name, value, right, words in (
          ("multifd-channels", 0, 2, "Parameter 'multifd_channels' expects a value between 1 and 255"),
          ("multifd-zlib-level", 10, 9, "Option multifd-zlib-level expects a value between 0 and 9"),
          ("cpu-throttle-initial", 100, 99,
           "Parameter 'cpu_throttle_initial' expects an integer in the range of 1 to 99"),
      )),
    *(("mapped-ram-over-a-socket", setting, "", V.REFUSED, "",
       f"migrate: the destination rejected migrate-incoming. {SEEKABLE}")
      for setting in (f'{CAPABILITY}mapped-ram = "on"', f'{ONLY_THERE}mapped-ram = "on"')),
    ("mapped-ram-of-a-source-over-a-socket", f'{CAPABILITY}mapped-ram = "on", {ONLY_THERE}mapped-ram = "off"', "",
     V.BLOCKED,
     "source", SEEKABLE),
    ("tls-creds-without-an-object", CREDS, 'migration.parameters.tls-creds = ""', V.FAILED, "source",
     "failed: No TLS credentials with id 'tls0'"),
    ("multifd-at-source-only", f'{MULTIFD}, {ONLY_THERE}multifd = "off"', MULTIFD, V.FAILED, "destination",
     "failed: load of migration failed: Input/output error"),
    ("multifd-at-destination-only", f'{ONLY_THERE}multifd = "on"', MULTIFD, V.HUNG, "destination",
     "no progress at the destination: status device, nothing is sent, for 10 s"),
]  # fmt: skip
"""Settings that do not fit each other."""

DOMAINS = [
    (rule, f"{LIBVIRT}, {changes}", LIBVIRT, V.BLOCKED, "source", f"unsupported configuration: Target {words}")
    for rule, changes, words in (
        ("libvirt-other-accelerator", 'destination.accel = "tcg"', "domain virt type qemu does not match source kvm"),
        ("libvirt-other-vcpus", "destination.vcpus = 2", "domain vCPU max 2 does not match source 1"),
        ("libvirt-other-vcpus", "source.vcpus = 4", "domain vCPU max 1 does not match source 4"),
        ("libvirt-other-cpu-mode", 'destination.cpu = "max"',
         "CPU mode maximum does not match source host-passthrough"),
        ("libvirt-other-cpu-mode", 'source.cpu = "qemu64"', "CPU mode host-passthrough does not match source custom"),
        ("libvirt-other-cpu-model", 'source.cpu = "Skylake-Client", destination.cpu = "Nehalem"',
         "CPU model Nehalem does not match source Skylake-Client"),
        ("libvirt-other-cpu-features", 'source.cpu = "Nehalem,-sse4.2", destination.cpu = "Nehalem"',
         "CPU feature count 0 does not match source 1"),
        ("libvirt-other-mac", 'destination.mac = "52:54:00:53:67:02"',
         "network card mac 52:54:00:53:67:02 does not match source 52:54:00:53:67:01"),
        ("libvirt-other-devices", 'source.disk = "/d", kernel = "/k"', "domain disk count 0 does not match source 1"),
        ("libvirt-other-devices", 'destination.bridge = ""', "domain controller count 5 does not match source 6"),
        # the first of several that libvirt comes to
        ("libvirt-other-accelerator", 'destination = { accel = "tcg", memory_mib = 128 }',
         "domain virt type qemu does not "
         "match source kvm"),
        ("libvirt-other-memory", "destination = { vcpus = 2, memory_mib = 128 }",
         "domain max memory 1 does not match source 2"),
        ("libvirt-other-vcpus", 'destination = { vcpus = 2, machine = "pc" }',
         "domain vCPU max 2 does not match source 1"),
        ("libvirt-other-machine", 'destination = { cpu = "max", machine = "pc" }',
         "domain machine type pc does not match source q35"),
        ("libvirt-other-cpu-mode", 'destination = { cpu = "max", mac = "52:54:00:53:67:02" }',
         "CPU mode maximum does not match source host-passthrough"),
    )
]  # fmt: skip
"""What libvirt compares of the two domains."""

COMPLETING = (
    "device-fails-once-it-is-saved", "fault-that-never-happens", "paused-before", "stream-version-read",
    "x-allow-pre-copy-of-old-machines", "x-allow-pre-copy-of-new-machines", "device-reset-out-of-pre-copy",
    "guest-suspended", "device-unplugged-before", "device-not-unplugged-meanwhile", "link-comes-back",
)  # fmt: skip


EVERY = [*EXAMPLES, *DIFFERING, *SETTINGS, *DOMAINS]


def case_with(changes: str, tables: str = "") -> tuple[Case, Rule]:
    (planned,) = plan(f'{tables}[axes]\n[[axes.it]]\nname = "x"\nset = {{ {changes} }}\n')
    return planned.case, planned.rule


@pytest.mark.parametrize(
    ("name", "changes", "right", "verdict", "side", "reason"),
    EVERY,
    ids=[f"{name} {number}" for number, (name, *_) in enumerate(EVERY)],
)
def test_rule(name: str, changes: str, right: str, verdict: VerdictName, side: str, reason: str) -> None:
    """The rule fits its case, what happens then is right by it, and put right the case completes. ``reason``: of the
    verdict, or the id of the check that failed.
    """
    case, rule = case_with(changes)
    assert rule.name == name
    assert rule.expectation.because
    checks = [make_check(parse_check_id(reason), False, "1", "2")] if verdict is V.CHECKS_FAILED else []
    assert find_mismatch(case.expectation, Verdict(verdict, side, "" if checks else reason), checks) == ""
    assert find_mismatch(case.expectation, Verdict(V.COMPLETED), ())
    if verdict is V.CHECKS_FAILED:
        other = make_check(CheckId.GUEST_CANARY, False, "1", "2")
        assert find_mismatch(case.expectation, Verdict(verdict, side), [*checks, other])
    if rule.expectation.reason:
        assert find_mismatch(case.expectation, Verdict(verdict, side, "something else"), ())
    assert case_with(right)[1] is DEFAULT


def test_several_devices_one_without_p2p() -> None:
    """Two devices: the rule is about the one without P2P, whichever it is; one device alone needs none."""
    for changes in ('devices.a.p2p = "off"', 'devices.b.p2p = "off"', 'source.device.p2p = "off"'):
        case, rule = case_with(changes, TWO)
        assert rule.name == "several-devices-one-without-p2p"
        text = "Multiple VFIO devices migration is supported only if all of them support P2P migration"
        assert find_mismatch(case.expectation, Verdict(V.REFUSED, "", f"start source: {text}"), ()) == ""
    assert case_with("", TWO)[1] is DEFAULT
    assert case_with('device.p2p = "off"')[1] is DEFAULT


def test_a_property_of_no_release_only_where_a_scenario_names_it() -> None:
    """A property that this QEMU may lack makes no expectation by itself: lacking it is a skip, not a success."""
    case, rule = case_with('device.allow_pre_copy = "off"')
    assert rule is DEFAULT
    named = find_rule("x-allow-pre-copy-on-a-release")
    assert named is not None
    assert not named.automatic
    assert named.condition(make_traits(case))
    assert not named.condition(make_traits(Case("plain")))
    assert re.search(named.expectation.reason, "Property 'vfio-pci.x-allow-pre-copy' not found")


def test_a_device_that_fails_once_it_is_saved() -> None:
    """With pre-copy STOP is the last change: the migration completes all the same."""
    case, rule = case_with('source.device.fail_at = "STOP"')
    assert (rule.name, case.expectation.verdict) == ("device-fails-once-it-is-saved", V.COMPLETED)


NEVER = [
    'device.pre_copy = "off", source.device.fail_at = "PRE_COPY"',
    'device.pre_copy = "off", source.device.fail_at = "PRE_COPY_P2P"',
    'device.allow_pre_copy = "off", source.device.fail_at = "PRE_COPY"',
    'device.p2p = "off", source.device.fail_at = "PRE_COPY_P2P"',
    'device.p2p = "off", device.pre_copy = "off", source.device.fail_at = "RUNNING_P2P"',
    'source.device.fail_at = "RUNNING_P2P"',
    f'source.device.fail_at = "read:{5 << 20}"',
    f'destination.device.fail_at = "write:{5 << 20}"',
    'destination.device.p2p = "off", destination.device.fail_at = "RUNNING_P2P"',
]


@pytest.mark.parametrize("changes", NEVER)
def test_a_fault_that_never_happens(changes: str) -> None:
    """A state that the migration does not pass, or a byte that the stream does not have: it completes."""
    case, rule = case_with(changes)
    assert (rule.name, case.expectation.verdict) == ("fault-that-never-happens", V.COMPLETED)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (f'source.device.fail_at = "read:{(5 << 20) - 1}"', "device-fails-read"),
        (f'destination.device.fail_at = "write:{(5 << 20) - 1}"', "device-fails-write"),
        ('device.pre_copy = "off", source.device.fail_at = "RUNNING_P2P"', "device-fails-state-change-at-source"),
        ('destination.device.fail_at = "STOP"', "device-fails-state-change-at-destination"),
        (f'{PAUSED}, source.device.fail_at = "PRE_COPY"', "fault-that-never-happens"),
        (f'{PAUSED}, source.device.fail_at = "STOP_COPY"', "device-fails-state-change-at-source"),
        # how much gets dirty decides whether it comes to that
        (f'device.dirty_bytes_per_sec = 4096, source.device.fail_at = "read:{5 << 20}"', ""),
    ],
)
def test_where_a_device_comes_to_its_fault(changes: str, name: str) -> None:
    """The last byte of the stream is one; without pre-copy a device goes through RUNNING_P2P before it is saved."""
    assert case_with(changes)[1].name == name


ENDLESS = 'device.pre_copy = "off", migration.downtime_limit_ms = 70'


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ('source.device.fail_at = "STOP_COPY"', "never-converges"),
        ('destination.device.fail_at = "load"', "never-converges"),
        ('source.device.corrupt = "stream"', "never-converges"),
        ('destination.device.fail_at = "RESUMING"', "device-fails-state-change-at-destination"),
        (
            'migration.pause_before_switchover = "on", fault.action = "kill source", fault.phase = "pre-switchover"',
            "never-converges",
        ),
        ('fault.action = "kill source", fault.phase = "device stop-copy"', "never-converges"),
        ('fault.action = "kill source", fault.phase = "active"', "source-killed"),
        ('fault.action = "cancel", fault.phase = "active"', "cancelled"),
        (PAUSED, "never-converges"),
        ('migration.capabilities.postcopy-ram = "on"', "postcopy-with-vfio"),
    ],
)
def test_what_comes_before_a_migration_without_an_end(changes: str, name: str) -> None:
    """What happens before the switchover does; what would come with it does not."""
    assert case_with(f"{ENDLESS}, {changes}")[1].name == name


@pytest.mark.parametrize(
    "changes",
    [
        PAUSED,
        f'{PAUSED}, {ACK}, source.device.pre_copy = "off"',
        f'{PAUSED}, {ACK}, destination.device.pre_copy = "off"',
        f"{PAUSED}, {ACK_AT_SOURCE}",
    ],
)
def test_paused_before(changes: str) -> None:
    """A guest that is paused before it migrates completes without PRE_COPY, whatever the sides make of the ack."""
    case, rule = case_with(changes)
    assert rule.name == "paused-before"
    assert (case.expectation.verdict, case.expectation.pre_copy) == (V.COMPLETED, "off")
    assert case_with(changes.replace('"before"', '"active"'))[1].name != "paused-before"


def test_a_driver_that_knows_more_than_one_version() -> None:
    """What it reads as what it is completes, from either version to the other."""
    for changes in ("source.device.stream_version = 1", "destination.device.stream_version = 1"):
        case, rule = case_with(f'{changes}, destination.device.other_version = "read"')
        assert (rule.name, case.expectation.verdict) == ("stream-version-read", V.COMPLETED)


@pytest.mark.parametrize(
    ("machine", "name", "pre_copy"),
    [
        ("pc-q35-2.9", "x-allow-pre-copy-of-old-machines", "off"),
        ("pc-q35-8.0", "x-allow-pre-copy-of-old-machines", "off"),
        ("pc-i440fx-7.2,usb=off", "x-allow-pre-copy-of-old-machines", "off"),
        ("pc-q35-8.1", "x-allow-pre-copy-of-new-machines", "on"),
        ("pc-q35-10.0", "x-allow-pre-copy-of-new-machines", "on"),
        ("q35", "x-allow-pre-copy-of-new-machines", "on"),
    ],
)
def test_x_allow_pre_copy_by_machine(machine: str, name: str, pre_copy: str) -> None:
    """Left to the machine type, the patch's compat entry decides; and a device without PRE_COPY has none to lose."""
    changes = f'machine = "{machine}", device.allow_pre_copy = "by-machine"'
    case, rule = case_with(changes)
    assert (rule.name, case.expectation.verdict, case.expectation.pre_copy) == (name, V.COMPLETED, pre_copy)
    assert case_with(f'{changes}, device.pre_copy = "off"')[1] is DEFAULT
    assert case_with(f'machine = "{machine}", device.allow_pre_copy = "on"')[1] is DEFAULT


def test_a_machine_type_that_allows_no_pre_copy_sends_no_initial_data() -> None:
    """With the ack on both sides a source that may not use pre-copy starves, by its machine type as by its property."""
    on_source = 'source.device.allow_pre_copy = "by-machine", destination.device.allow_pre_copy = "on"'
    assert case_with(f'{ACK}, machine = "pc-q35-8.0", {on_source}')[1].name == "ack-with-pre-copy-at-destination-only"
    assert case_with(f'{ACK}, machine = "pc-q35-8.1", {on_source}')[1].name == "x-allow-pre-copy-of-new-machines"


def test_what_is_said_of_initial_bytes_needs_them_to_be_sent() -> None:
    """Without settle the downtime limit may let the switchover come before that, and nothing is said for sure."""
    changes = f'{ACK}, destination.device.pre_copy = "off", migration.settle = "off"'
    assert case_with(changes)[1] is DEFAULT


def without_properties(side: str = "") -> str:
    """Of a device that gets nothing that QEMU 7.2 does not have."""
    return ", ".join(f'{side}device.properties.{name} = ""' for name in ("enable-migration", "migration-events"))


OLD = f'machine = "pc-q35-7.2", {without_properties()}'
BY_QEMU = [
    # rule, source's and destination's QEMU, what the case sets besides, verdict, side, what is said
    ("other-virtio-queue-size", "qemu-10.0", "qemu-11.1", 'machine = "pc-q35-10.0"', V.FAILED, "destination",
     "failed: VQ 0 vring.num 1024 exceeds allocated max 256; load"),
    ("other-virtio-queue-size", "qemu-system-x86_64", "qemu-11.1", 'machine = "pc-q35-10.0"', V.FAILED, "destination",
     "failed: VQ 0 vring.num 1024 exceeds allocated max 256; load"),
    ("", "qemu-11.1", "qemu-10.0", 'machine = "pc-q35-10.0"', V.COMPLETED, "", ""),
    ("", "qemu-11.1", "qemu-11.1", 'machine = "q35"', V.COMPLETED, "", ""),
    ("other-machine", "qemu-11.1", "qemu-10.0", 'machine = "q35"', V.FAILED, "destination",
     "Machine type received is 'pc-q35-11.1' and local is 'pc-q35-10.0'"),
    ("", "/my/qemu", "qemu-10.0", 'machine = "q35"', V.COMPLETED, "", ""),
    ("", "qemu-11.1", "qemu-10.0", f'{LIBVIRT}, machine = "q35"', V.COMPLETED, "", ""),
    ("old-protocol-at-source", "qemu-7.2", "qemu-7.2", OLD, V.BLOCKED, "source",
     "migrate: 0b6e: VFIO device doesn't support migration"),
    ("old-protocol-at-destination", "qemu-10.0", "qemu-7.2",
     f'machine = "pc-q35-7.2", {without_properties("destination.")}', V.FAILED, "destination",
     "Unknown savevm section or instance '0000:00:01.0/vfio' 0. Make sure that your current VM setup matches"),
    ("multifd-with-postcopy", "qemu-10.0", "qemu-10.0", f'{MULTIFD}, migration.capabilities.postcopy-ram = "on"',
     V.REFUSED,
     "", "Postcopy is not yet compatible with multifd"),
    ("postcopy-with-vfio", "qemu-11.1", "qemu-11.1", f'{MULTIFD}, migration.capabilities.postcopy-ram = "on"',
     V.BLOCKED,
     "source", "VFIO migration is not supported with postcopy migration"),
    ("ack-at-source-only-without-pre-copy", "qemu-10.0", "qemu-10.0", f'{ACK_AT_SOURCE}, device.pre_copy = "off"',
     V.HUNG,
     "source", "ack-starved"),
    ("ack-at-source-only-without-pre-copy", "qemu-11.1", "qemu-11.1",
     f'{ACK_AT_SOURCE}, device.pre_copy = "off", machine = "pc-q35-11.0"', V.HUNG, "source", "ack-starved"),
    ("", "qemu-11.1", "qemu-11.1", f'{ACK_AT_SOURCE}, device.pre_copy = "off"', V.COMPLETED, "", ""),
    ("", "qemu-11.1", "qemu-11.1", f'{ACK}, source.device.pre_copy = "off"', V.COMPLETED, "", ""),
    ("x-allow-pre-copy-of-old-machines", "qemu-x-allow-pre-copy", "qemu-x-allow-pre-copy",
     'machine = "pc-i440fx-8.0", device.allow_pre_copy = "by-machine"', V.COMPLETED, "", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "source", "destination", "changes", "verdict", "side", "reason"),
    BY_QEMU,
    ids=[f"{name or 'completes'} {number}" for number, (name, *_) in enumerate(BY_QEMU)],
)
def test_what_a_qemu_decides(
    name: str, source: str, destination: str, changes: str, verdict: VerdictName, side: str, reason: str
) -> None:
    """A QEMU that the project names is known before it is asked: rules that depend on it hold by themselves."""
    case, rule = case_with(f'source.qemu = "{source}", destination.qemu = "{destination}", {changes}')
    assert rule.name == name
    assert find_mismatch(case.expectation, Verdict(verdict, side, reason), ()) == ""


def test_a_qemu_that_nobody_knows() -> None:
    """Of a path nothing is known before it is asked, and on a host of one's own neither of the name in PATH."""
    unknown_qemu = 'source.qemu = "/my/qemu", destination.qemu = "qemu-11.1", machine = "pc-q35-10.0"'
    assert case_with(unknown_qemu)[1] is DEFAULT
    elsewhere = 'source.host = "rack1", destination.qemu = "qemu-11.1", machine = "pc-q35-10.0"'
    assert case_with(elsewhere)[1] is DEFAULT
    assert case_with(elsewhere.replace("rack1", "hosta"))[1].name == "other-virtio-queue-size"


def test_a_qemu_that_was_asked() -> None:
    """What a binary said counts before what is kept of its name."""
    case, _ = case_with('destination.qemu = "/my/qemu", machine = "pc-q35-10.0"')
    asked = (find_known_qemu("qemu-10.0"), find_known_qemu("qemu-11.1"))
    assert choose_rule(make_traits(case, asked)).name == "other-virtio-queue-size"
    assert choose_rule(make_traits(case, (None, None))) is DEFAULT


def test_the_errno_of_a_state_change_is_in_the_reason() -> None:
    """QEMU says it after its own words; of two devices with different ones nobody knows which fails first."""
    case, rule = case_with('source.device.fail_at = "PRE_COPY", device.fail_errno = 95')
    said = "failed: 776a: Failed setting device state to PRE_COPY. Setting device in recover state RUNNING"
    assert rule.name == "device-fails-state-change-at-source"
    assert find_mismatch(case.expectation, Verdict(V.FAILED, "source", f"{said}: Operation not supported"), ()) == ""
    assert find_mismatch(case.expectation, Verdict(V.FAILED, "source", f"{said}: Input/output error"), ())
    several = 'source.devices.a.fail_at = "PRE_COPY", source.devices.b.fail_at = "PRE_COPY", devices.b.fail_errno = 95'
    both, _ = case_with(several, TWO)
    for errno in ("Operation not supported", "Input/output error"):
        assert find_mismatch(both.expectation, Verdict(V.FAILED, "source", f"{said}: {errno}"), ()) == ""


def test_other_mac_addresses_stop_nothing() -> None:
    """QEMU does not compare them: a check tells which one the guest has afterwards."""
    assert case_with('destination.mac = "52:54:00:53:67:02"')[1] is DEFAULT


WITHOUT_EFFECT = (
    "dump-guest-core=off", "mem-merge=off", "graphics=off", "fd-bootchk=off", "usb=off", "hpet=on", "smm=off",
    "nvdimm=on",
    "default-bus-bypass-iommu=on", "suppress-vmdesc=on", "x-oem-id=x", "kernel-irqchip=split", "vmport=auto",
)  # fmt: skip


@pytest.mark.parametrize("option", WITHOUT_EFFECT)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_options_of_a_machine_that_leave_the_stream_as_it_is(option: str, side: str) -> None:
    """Such an option on one side stops nothing."""
    assert case_with(f'{side}.machine = "q35,{option}"')[1] is DEFAULT


@pytest.mark.parametrize("option", ["sata=off", "smbus=off"])
def test_options_without_effect_on_the_older_chipset(option: str) -> None:
    """i440fx has neither AHCI nor ICH9's SMBus."""
    assert case_with(f'source.machine = "pc", destination.machine = "pc,{option}"')[1] is DEFAULT


@given(st.lists(st.sampled_from(sorted(CONTROLS)), min_size=2, max_size=2))
def test_a_cpu_is_not_less_than_itself(models: list[str]) -> None:
    """Of two models one offers less, or the other, or neither; with another feature on top none is less."""
    here, there = (list_controls(model) for model in models)
    assert here is not None
    assert there is not None
    assert list_controls(f"{models[0]},+umip") == here | {"umip"}
    assert list_controls(f"{models[0]},-smep") == here - {"smep"}
    assert list_controls("no-such-model") is None


def test_without_devices_vfio_rejects_nothing() -> None:
    """Rules about VFIO are not for a guest that has no device."""
    for capability in ("postcopy-ram", "background-snapshot"):
        settings = MigrationSettings(return_path=False, capabilities={capability: True})
        case = make_case("ram", SideSpec(devices=()), settings=settings)
        assert choose_rule(make_traits(case)) is DEFAULT


def test_every_rule_has_an_example() -> None:
    """No rule without a test."""
    alone = {"several-devices-one-without-p2p", "x-allow-pre-copy-on-a-release"}
    assert {name for name, *_ in EVERY} | {*alone, *(name for name, *_ in BY_QEMU if name), *COMPLETING} == {
        rule.name for rule in ORACLE
    }


def test_names() -> None:
    """A name is one rule's, also an alias; names are words with hyphens; a rule is found by each of them."""
    names = [name for rule in ORACLE for name in (rule.name, *rule.aliases)]
    assert len(set(names)) == len(names)
    assert [rule.name for rule in ORACLE if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|cancelled", rule.name)] == []
    assert all(find_rule(name) is rule for rule in ORACLE for name in (rule.name, *rule.aliases))
    assert find_rule("no-such-rule") is None
    assert find_rule("") is None


@pytest.mark.parametrize("rule", ORACLE, ids=lambda rule: rule.name)
def test_what_a_rule_says_of_itself(rule: Rule) -> None:
    """What it is about, in a sentence; why, with the source at the end. What is not said by
    its verdict alone has a reason to be looked for.
    """
    assert re.fullmatch(r"[^.].*\.", rule.about)
    assert rule.source
    assert rule.expectation.because.endswith(f" ({rule.source})")
    assert len(rule.expectation.because) > len(f" ({rule.source})")
    no_words = {"source-killed", "destination-killed"}  # by a signal: the verdict says it
    says = bool(rule.expectation.reason or rule.expectation.checks)
    assert says is (rule.expectation.verdict is not V.COMPLETED and rule.name not in no_words)


OLD_NAMES = (
    "A4", "A5", "A6", "A6 (no pre-copy)", "A8", "A14", "A15", "A15 (memory)", "A15 (virtio queues)", "A16",
    "A16 (8.0 and older)", "A16 (8.1 and newer)", "B1", "B1 (destination)", "B1 (kernel)", "B1 (protocol 1)",
    "B1 (realize)", "B1 (realize, vfio-pci)", "B1 (vfio-pci)", "B2", "B3", "B4", "B8", "B9", "B9 (return path)", "C1",
    "C2", "C3", "D cancel", "D cut link", "D destination device", "D device type", "D kill destination",
    "D kill source", "D panic guest", "D source device", "D state corrupt", "D stream corrupt", "L1 (machine)",
    "L1 (memory)",
)  # fmt: skip
"""Names that rules had first. Scenarios of users may have them, and plans of old runs do."""


def test_old_names_stay() -> None:
    """Each is an alias of a rule, and in a scenario it means that rule, which is told by its name of today."""
    assert [name for rule in ORACLE for name in rule.aliases if name not in OLD_NAMES] == []
    for name in OLD_NAMES:
        rule = find_rule(name)
        assert rule is not None
        (planned,) = plan(f'[expect]\noracle = "{name}"\nbecause = "x"\n')
        told = f"x (oracle {rule.name}: {rule.expectation.because})"
        assert planned.case.expectation == replace(rule.expectation, because=told)


WITHOUT_A_CASE = {
    "enable-migration-on-with-generic-driver": "of a machine with PCI functions: tests/lab/test_pci_functions.py",
}
"""Rules that no case of the catalogue meets, and why."""


def plan_catalogue() -> list[PlannedCase]:
    return [entry for path in list_scenarios(catalogue_directory()) for entry in expand(load_scenario(path))]


def test_cases_of_the_catalogue() -> None:
    """A rule has a case in the catalogue, by itself or since a scenario names it; those without are known."""
    planned = plan_catalogue()
    fitting = {choose_rule(make_traits(entry.case)).name for entry in planned}
    because = "\n".join(entry.case.expectation.because for entry in planned)
    named = {rule.name for rule in ORACLE if f"(oracle {rule.name}: " in because}
    assert {rule.name for rule in ORACLE} - fitting - named == WITHOUT_A_CASE.keys()


def test_what_was_seen() -> None:
    """What ships with the rules is of rules that there are, and of cases of the catalogue; a rule that was not seen is
    one whose case was not run since it is noted.
    """
    seen = read_seen()
    ids = {entry.id for entry in plan_catalogue()}
    assert seen.keys() <= {rule.name for rule in ORACLE}
    assert {one.case for found in seen.values() for one in found} <= ids
    assert {rule.name for rule in ORACLE} - seen.keys() == NOT_RUN_YET


NOT_RUN_YET = {
    "ack-at-source-only",
    "ack-at-source-only-without-pre-copy",
    "ack-with-pre-copy-at-destination-only",
    "ack-with-pre-copy-at-source-only",
    "ack-without-return-path",
    "background-snapshot-with-return-path",
    "background-snapshot-with-vfio",
    "blank-in-machine",
    "device-at-source-only",
    "device-fails-once-it-is-loaded",
    "device-fails-once-it-is-saved",
    "device-not-unplugged-meanwhile",
    "device-refuses-stream",
    "device-state-corrupt",
    "device-takes-too-long-for-one-call",
    "enable-migration-off",
    "enable-migration-on-with-generic-driver",
    "enable-migration-on-without-migration",
    "enable-migration-on-without-stop-copy",
    "generic-vfio-pci-driver",
    "guest-panics",
    "libvirt-other-interrupt-chip",
    "libvirt-other-iommu",
    "libvirt-other-memory",
    "libvirt-other-topology",
    "link-cut",
    "longer-than-timeout",
    "mapped-ram-on-one-side",
    "multifd-at-destination-only",
    "multifd-at-source-only",
    "multifd-over-a-file",
    "multifd-transfer-at-source-only",
    "multifd-transfer-without-multifd",
    "multifd-transfer-without-multifd-at-destination",
    "multifd-transfer-without-multifd-at-source",
    "nic-rom-at-source-only",
    "old-protocol-at-destination",
    "old-protocol-at-source",
    "other-device-type",
    "other-iommu",
    "other-memory",
    "other-topology",
    "other-virtio-queue-size",
    "paused-before",
    "postcopy-with-vfio",
    "proxy-killed",
    "proxy-killed-before-migrate",
    "return-path-over-a-file",
    "several-devices-one-without-p2p",
    "source-killed",
    "stream-version-misread",
    "stream-version-read",
    "stream-version-refused",
    "tls-certificate-expired",
    "tls-certificate-of-another-authority",
    "tls-creds-without-an-object",
    "tls-destination-expired",
    "tls-destination-of-another-authority",
    "tls-destination-without-certificate",
    "tls-other-hostname",
    "tls-over-a-file",
    "tls-source-not-trusted",
    "tls-without-hostname",
    "unmigratable-device",
    "x-allow-pre-copy-of-new-machines",
    "x-allow-pre-copy-of-old-machines",
    "x-allow-pre-copy-on-a-release",
}
"""Rules whose cases were not run since sightings are noted: the next runs of the catalogue take them from here."""


@given(st.text(st.characters(exclude_characters="\n%")), st.text(st.characters(exclude_characters="\n")))
def test_a_text_as_a_regular_expression(text: str, varying: str) -> None:
    """It is found with anything in the place of %s, and what is special in expressions stands for itself."""
    assert re.fullmatch(quote(f"{text}%s{text}"), f"{text}{varying}{text}")
    assert not re.search(quote(text + "."), text)


def test_a_case_made_by_hand() -> None:
    """The oracle is about cases, however they were made."""
    assert choose_rule(make_traits(Case("plain"))) is DEFAULT


def test_earlier_rules_win() -> None:
    """What stops a case first is what it ends in: realize before capabilities before migrate before the way."""
    order = [
        'device.migration = "off"',
        f"{ACK}, {NO_RETURN}",
        'migration.capabilities.postcopy-ram = "on"',
        'fault.action = "cancel", fault.phase = "active"',
        'source.device.fail_at = "STOP_COPY"',
    ]
    first = [case_with(changes)[1] for changes in order]
    for number in range(len(order)):
        assert case_with(", ".join(order[number:]))[1].name == first[number].name

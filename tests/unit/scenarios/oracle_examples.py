# SPDX-License-Identifier: GPL-2.0-or-later
"""Examples of rules: a case that a rule is for, the same put right, and what happens to the first."""

from tests.unit.scenarios.hardware_examples import HARDWARE_EXAMPLES
from tests.unit.scenarios.samples import plan
from tests.unit.scenarios.transport_examples import TRANSPORT_EXAMPLES

from switchover.record.record import VerdictName
from switchover.scenarios.case import Case
from switchover.scenarios.oracle import Rule

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

MTTY, MTTY_AUTO = 'device.type = "mtty-2"', 'device.properties.enable-migration = "auto"'
OWN_TRACKING = 'device.properties.x-device-dirty-page-tracking = "on"'
ACK_LEGACY, LATE = "migration.switchover-ack-legacy", "device.properties.x-migration-load-config-after-iter"
LIMIT = "device.properties.x-migration-max-queued-buffers-size"

EXAMPLES = [
    *HARDWARE_EXAMPLES,
    *TRANSPORT_EXAMPLES,
    # rule, what the case sets, what puts it right, verdict, side, what QEMU or the harness would say
    ("enable-migration-on-without-migration", 'device.migration = "off"', 'device.migration = "on"', V.REFUSED, "",
     "d: VFIO migration is not supported in kernel"),
    ("enable-migration-on-without-migration", 'destination.device.migration = "off"', "", V.REFUSED, "",
     "d: VFIO migration init failed: migration is not supported in kernel"),
    ("only-migratable", 'qemu_arguments = ["-only-migratable"], device.properties.enable-migration = "auto"',
     'qemu_arguments = ["-only-migratable"]', V.REFUSED, "",
     "vfio 1: disallowing migration blocker (--only-migratable) for: d: VFIO device doesn't support device and IOMMU"),
    ("only-migratable", f'{MTTY}, destination.qemu_arguments = ["-only-migratable"], {MTTY_AUTO}',
     f'{MTTY}, {MTTY_AUTO}, {OWN_TRACKING}, qemu_arguments = ["-only-migratable"]', V.REFUSED, "",
     "disallowing migration blocker (--only-migratable) for: d: VFIO device doesn't support device and IOMMU"),
    ("no-dirty-tracking", f"{MTTY}, {MTTY_AUTO}", MTTY, V.BLOCKED, "source",
     "d: VFIO device doesn't support device and IOMMU dirty tracking"),
    ("viommu-with-own-dirty-tracking", f'{MTTY}, {MTTY_AUTO}, {OWN_TRACKING}, iommu = "virtio-iommu-pci"',
     f"{MTTY}, {MTTY_AUTO}, {OWN_TRACKING}", V.BLOCKED, "source",
     "d: Migration is currently not supported with vIOMMU enabled"),
    ("other-device-type", f'source.{MTTY}, destination.device.type = "mtty-1"', MTTY, V.FAILED, "destination",
     f"error while loading state section id 36({SECTION})"),
    ("other-device-configuration", 'destination.device.properties.x-pci-device-id = "0x1234"',
     'device.properties.x-pci-device-id = "0x1234"', V.FAILED, "destination",
     "d: Failed to load device config space"),
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
       f"failed: {words} after init: Failed to set special registers: Invalid argument")
      for words in ("Putting registers", "Restoring resisters")
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
    "failover-primary",
)  # fmt: skip


EVERY = [*EXAMPLES, *DIFFERING, *SETTINGS, *DOMAINS]


def case_with(changes: str, tables: str = "") -> tuple[Case, Rule]:
    (planned,) = plan(f'{tables}[axes]\n[[axes.it]]\nname = "x"\nset = {{ {changes} }}\n')
    return planned.case, planned.rule


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
    ("viommu-without-caching-mode-in-use", "qemu-11.1", "qemu-11.1", 'iommu = "intel-iommu"', V.CRASHED, "",
     "guest boot: the source QEMU on hosta ended with exit status -1.\n  why: YMM15=0"),
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
    *((rule, "qemu-11.1", "qemu-11.1",
       f'{ACK}, device.pre_copy = "off", {side}.qemu_arguments = ["-global", "{ACK_LEGACY}=on"]',
       V.HUNG, "source", said)
      for rule, side, said in (("one-shot-ack-at-source-only", "source", "ack-starved"),
                               ("one-shot-ack-at-destination-only", "destination",
                                "Switchover ack pending num underflowed"))),
    ("", "qemu-11.1", "qemu-11.1",
     f'{ACK}, device.pre_copy = "off", qemu_arguments = ["-global", "{ACK_LEGACY}=on"]', V.COMPLETED, "", ""),
    ("late-config-at-source-only", "qemu-11.1", "qemu-11.1", f'{MULTIFD}, source.{LATE} = "on"', V.FAILED,
     "destination", "d: got DEV_CONFIG_LOAD_READY but was disabled"),
    ("late-config-at-destination-only", "qemu-11.1", "qemu-11.1", f'{MULTIFD}, destination.{LATE} = "on"', V.HUNG,
     "destination", "no progress at the destination"),
    ("", "qemu-11.1", "qemu-11.1", f'{MULTIFD}, {LATE} = "on"', V.COMPLETED, "", ""),
    ("", "qemu-11.1", "qemu-11.1", f'source.{LATE} = "on"', V.COMPLETED, "", ""),
    ("queued-buffers-exceed-their-limit", "qemu-11.1", "qemu-11.1", f'{MULTIFD}, destination.{LIMIT} = "1"', V.FAILED,
     "destination", "d: queuing state buffer 1048576 would exceed the size max of 1"),
    ("", "qemu-11.1", "qemu-11.1", f'{MULTIFD}, source.{LIMIT} = "1"', V.COMPLETED, "", ""),
    ("", "qemu-11.1", "qemu-11.1", f'{ACK_AT_SOURCE}, device.pre_copy = "off"', V.COMPLETED, "", ""),
    ("", "qemu-11.1", "qemu-11.1", f'{ACK}, source.device.pre_copy = "off"', V.COMPLETED, "", ""),
    ("x-allow-pre-copy-of-old-machines", "qemu-x-allow-pre-copy", "qemu-x-allow-pre-copy",
     'machine = "pc-i440fx-8.0", device.allow_pre_copy = "by-machine"', V.COMPLETED, "", ""),
]  # fmt: skip

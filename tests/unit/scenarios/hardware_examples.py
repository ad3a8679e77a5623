# SPDX-License-Identifier: GPL-2.0-or-later
"""For each rule about a guest's hardware, cases that it is for: see ``EXAMPLES`` in :mod:`test_oracle`. The texts are
those of QEMU 10.0.13.
"""

from switchover.record.record import VerdictName

V = VerdictName
IOMMU = 'machine = "q35,kernel-irqchip=split", iommu = "intel-iommu,caching-mode=on"'
LIBVIRT = 'driver = "libvirt"'
AUTO = 'device.properties.enable-migration = "auto"'
NO_SECTION = "Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices"
BAD_CONFIG = "get_pci_config_device: Bad config data: i=0x9a read: 5 device: 3 cmask: ff wmask: 0 w1cmask:0"
FEATURES = "Features 0x130afffe7 unsupported. Allowed features: 0x100000000"

HARDWARE_EXAMPLES = [
    # rule, what the case sets, what puts it right, verdict, side, what QEMU says
    ("interrupt-remapping-in-kernel", 'iommu = "intel-iommu,intremap=on,caching-mode=on"', 'iommu = ""',
     V.REFUSED, "", "Interrupt Remapping cannot work with kernel-irqchip=on, please use 'split|off'."),
    ("viommu-with-enabled-migration", IOMMU, 'iommu = ""', V.REFUSED, "",
     "vfio 0b6e: 0b6e: Migration is currently not supported with vIOMMU enabled"),
    ("viommu-with-enabled-migration", 'destination.iommu = "virtio-iommu-pci"', "", V.REFUSED, "",
     "vfio 0b6e: 0b6e: Migration is currently not supported with vIOMMU enabled"),
    ("viommu-without-caching-mode", f'iommu = "intel-iommu", {AUTO}', "", V.REFUSED, "",
     "We need to set caching-mode=on for intel-iommu to enable device assignment with IOMMU protection."),
    ("libvirt-other-topology", f"{LIBVIRT}, vcpus = 2, source.topology.cores = 2, destination.topology.sockets = 2",
     f"{LIBVIRT}, vcpus = 2, topology.sockets = 2", V.BLOCKED, "source",
     "unsupported: Target CPU sockets 2 does not match source 1"),
    ("libvirt-other-iommu", f'{LIBVIRT}, destination.iommu = "intel-iommu,caching-mode=on"', LIBVIRT,
     V.BLOCKED, "source", "unsupported: Target domain IOMMU device count does not match source"),
    ("libvirt-other-interrupt-chip", f'{LIBVIRT}, source.machine = "q35,kernel-irqchip=split"', LIBVIRT, V.BLOCKED,
     "source", "unsupported: State of feature 'ioapic' differs: source: 'ioapic=qemu', destination: 'ioapic=none'"),
    ("libvirt-other-nic", f'{LIBVIRT}, source.nic.packed = "on"', LIBVIRT, V.BLOCKED, "source",
     "unsupported: Target device packed option 'default' does not match source 'on'"),
    ("libvirt-other-nic", f"{LIBVIRT}, source.nic.host_mtu = 1400", LIBVIRT, V.BLOCKED, "source",
     "unsupported: Target network card MTU 0 does not match source 1400"),
    ("libvirt-other-devices", f'{LIBVIRT}, destination.bridge = ""', LIBVIRT, V.BLOCKED, "source",
     "unsupported configuration: Target domain controller count 5 does not match source 6"),
    ("unmigratable-device", 'qemu_devices = ["nvme,serial=1"]', 'qemu_devices = ["virtio-rng-pci"]', V.BLOCKED,
     "source", "State blocked by non-migratable device '0000:00:02.0/nvme'"),
    ("other-firmware", 'source.firmware = "ovmf"', 'firmware = "ovmf"', V.FAILED, "destination",
     'Unknown ramblock "system.flash0", cannot accept migration'),
    ("other-firmware", 'destination.firmware = "ovmf"', 'destination.firmware = "/bios.bin"', V.FAILED, "destination",
     'Unknown ramblock "pc.bios", cannot accept migration'),
    ("nic-rom-at-source-only", 'source.nic.romfile = "a.rom"', 'nic.romfile = "a.rom"', V.FAILED, "destination",
     'Unknown ramblock "0000:00:01.0/virtio-net-pci.rom", cannot accept migration'),
    ("other-iommu", 'source.iommu = "intel-iommu,caching-mode=on", qemu = "qemu-11.1"', 'source.iommu = ""',
     V.FAILED, "destination", f"Unknown savevm section or instance 'iommu-intel' 0. {NO_SECTION}"),
    ("other-iommu", 'destination.iommu = "virtio-iommu-pci", qemu = "qemu-11.1"', "",
     V.FAILED, "destination", f"Unknown savevm section or instance '0000:00:01.0/virtio-net' 0. {NO_SECTION}"),
    ("other-topology", "vcpus = 6, source.topology.sockets = 2, source.topology.cores = 3", "vcpus = 6", V.FAILED,
     "destination", f"Unknown savevm section or instance 'apic' 6. {NO_SECTION}"),
    ("other-topology", "vcpus = 6, destination.topology.dies = 2, destination.topology.cores = 3",
     "vcpus = 4, destination.topology.dies = 2, destination.topology.cores = 2", V.FAILED,
     "destination", f"Unknown savevm section or instance 'apic' 3. {NO_SECTION}"),
    ("other-slots", 'source.nic.addr = "0x10"', 'nic.addr = "0x10"', V.FAILED, "destination",
     f"Unknown savevm section or instance '0000:00:10.0/virtio-net' 0. {NO_SECTION}"),
    ("other-slots", 'destination.bridge = ""', 'bridge = ""', V.FAILED, "destination",
     f"Unknown savevm section or instance '0000:00:02.0/virtio-rng' 0. {NO_SECTION}"),
    ("device-at-source-only", 'source.qemu_devices = ["virtio-balloon-pci"]', 'source.qemu_devices = ["edu"]',
     V.FAILED, "destination", f"Unknown savevm section or instance '0000:00:04.0/virtio-balloon' 0. {NO_SECTION}"),
    ("device-at-source-only", 'source.qemu_devices = ["e1000e"]', 'destination.qemu_devices = ["e1000e"]',
     V.FAILED, "destination", 'Unknown ramblock "0000:00:04.0/e1000e.rom", cannot accept migration'),
    ("other-nic-configuration", "source.nic_queues = 2", "nic_queues = 2", V.FAILED, "destination", BAD_CONFIG),
    ("other-nic-configuration", "destination.nic.vectors = 6", "nic.vectors = 6", V.FAILED, "destination", BAD_CONFIG),
    ("nic-features-at-source-only", 'destination.nic.host_uso = "off"', 'source.nic.host_uso = "off"', V.FAILED,
     "destination", FEATURES),
    ("nic-features-at-source-only", 'machine = "pc-q35-8.1", source.nic.guest_uso4 = "on"', 'machine = "pc-q35-8.1"',
     V.FAILED, "destination", FEATURES),
    ("nic-features-at-source-only", "source.nic.host_mtu = 1400", "destination.nic.host_mtu = 1400", V.FAILED,
     "destination", FEATURES),
    ("nic-features-at-source-only", 'source.nic.packed = "on"', 'destination.nic.packed = "on"', V.FAILED,
     "destination", FEATURES),
]  # fmt: skip

# SPDX-License-Identifier: GPL-2.0-or-later
"""Surveys of hosts for a person and for programs."""

import json
from dataclasses import replace

from tests.unit.surveys import ABILITIES, QEMU, SURVEY

from switchover.devices.survey import lost_host
from switchover.hosts.kvm import KvmProbe
from switchover.record.errors import HostLost
from switchover.report.hosts import render_survey, render_survey_json, render_surveys


def test_a_host_for_a_person() -> None:
    """Each fact has its line, and no line is wider than a terminal of 120 columns."""
    text = render_survey(SURVEY)
    for line in (
        "rack1  (inventory)",
        "  kernel       6.12.0",
        "  memory       8.0 GiB, 4.0 GiB available; huge pages: 512 of 2.0 MiB (500 free); memlock: no limit",
        "  IOMMU        dmar0, intel_iommu=on; 4 groups",
        "  accelerator  kvm: a kernel boots in it",
        f"  QEMU 10.0.13 {QEMU}, up to pc-q35-10.0; migration: switchover-ack",
        "               vfio-pci has: enable-migration, migration-events",
        "  device       0000:3b:00.0 15b3:101d mlx5_core, 1 of 8 virtual functions",
        "  device       0000:3b:00.2 15b3:101e mlx5_vfio_pci, group 101; migration: stop-copy, p2p, pre-copy",
        "  device       0000:5e:00.0 10de:2231 vfio-pci, group 9; migration: none",
        "  mdev type    /sys/devices/platform/refdev refdev-4vec: Reference device, 4 MSI-X vectors, 15 left",
    ):
        assert line in text.splitlines()
    assert max(map(len, text.splitlines())) <= 120


def test_what_is_not_known_is_said() -> None:
    """A part that is missing and a host that is down say why; a binary without vfio-pci too."""
    partly = replace(
        SURVEY,
        kvm=KvmProbe(False, "/dev/kvm hangs"),
        machine=None,
        qemus={QEMU: replace(ABILITIES, vfio_pci={})},
        problems={"machine": "gone"},
    )
    text = render_survey(partly)
    assert "  not known    machine: gone" in text
    assert "no vfio-pci in this binary" in text
    down = lost_host("rack2", "inventory", HostLost("rack2 does not answer.", why="refused"))
    both = render_surveys([partly, down])
    assert both.endswith("rack2  (inventory)\n  unreachable  rack2 does not answer. refused")


def test_for_programs() -> None:
    """Everything comes out as JSON, and a host that is down with why."""
    host = json.loads(json.dumps(render_survey_json(SURVEY)))
    assert host["reachable"] is True
    assert host["qemus"][QEMU]["vfio_pci"] == {"enable-migration": "OnOffAuto", "migration-events": "bool"}
    assert host["migratability"]["0000:3b:00.2"] == {"flags": 7, "logs_dma": True, "why": "", "in_use": False}
    assert host["devices"]["groups"]["9"] == ["0000:5d:02.0", "0000:5e:00.0", "0000:5e:00.1"]
    down = render_survey_json(lost_host("rack2", "inventory", HostLost("gone")))
    assert (down["reachable"], down["problems"]) == (False, {"host": "gone"})

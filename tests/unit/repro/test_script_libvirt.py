# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh`` of a case that libvirt ran: the domains that it makes, what it tells virsh, the verdicts it comes to."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.unit.repro.test_script import SCRIPTS, by_libvirt, head_of, record_of, write_program

from switchover.guests.domain import DomainIdentity, build_domain
from switchover.guests.spec import GuestFiles, GuestSpec, Kernel, Launch, VfioDevice
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings
from switchover.record.record import VerdictName
from switchover.repro import script_libvirt
from switchover.repro.script import render_script
from switchover.repro.script_libvirt import list_options
from switchover.scenarios.case import Case, SideSpec
from switchover.scenarios.recorded import parse_case


@pytest.mark.parametrize("side", ["source", "destination"])
def test_the_domains_of_libvirts_script(tmp_path: Path, side: str) -> None:
    """A shell prints the XML that the harness gives libvirt, but for keys, and with what a host has elsewhere."""
    script = render_script(SCRIPTS["libvirt, odd"])
    head = script[: script.index("# From here on")]
    function = "find_emulator() { echo /bin/$1; }\n"
    (tmp_path / "head.sh").write_text(f"{head}\n{function}xml_{side}\n", encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "WORK": "/work dir", "BRIDGE": "br9", "KERNEL": "/other/kernel"}
    environment |= {f"{side.upper()}_UUID_{number}": f"uuid-{number}" for number in (1, 2)}
    ran = subprocess.run(["sh", tmp_path / "head.sh"], env=environment, capture_output=True, text=True, check=True)
    case = parse_case(SCRIPTS["libvirt, odd"])
    spec = case.source if side == "source" else case.destination
    devices = tuple(
        VfioDevice(device.id, f"/sys/bus/mdev/devices/uuid-{number}", device.given_properties())
        for number, device in enumerate(spec.devices, start=1)
    )
    guest = replace(spec.guest, kernel=Kernel("/other/kernel"), bridge="br9", qemu=f"/bin/{spec.guest.qemu}")
    launch = Launch(guest, devices)
    files = GuestFiles(f"/work dir/{side}", _find(r'<target dev="(\w+)"', ran.stdout))
    identity = DomainIdentity(_find("<name>(.*)</name>", ran.stdout), _find("<uuid>(.*)</uuid>", ran.stdout))
    wanted = build_domain(launch, files, identity, keys=False).replace('<domain type="qemu"', '<domain type="kvm"')
    assert ran.stdout == wanted
    assert identity.name == head_of(script)["DOMAIN"]
    assert "fwcfg" in build_domain(launch, files, identity)


def test_functions_in_the_domains_of_libvirts_script(tmp_path: Path) -> None:
    """By their addresses: a virtual one by that which it had in the record, since the destination's domain is made at
    the source; where the record has none, by the one that is set. One that libvirt binds need not be with VFIO.
    """
    record = SCRIPTS["libvirt, functions"]
    known = replace(
        record,
        fingerprint={**record.fingerprint, "functions": {"destination dut": {"address": "0000:3b:02.5"}}},
    )
    assert head_of(render_script(record))["DESTINATION_FUNCTION_1"] == "${DESTINATION_FUNCTION_1-}"
    script = render_script(known)
    head = script[: script.index("# From here on")]
    body = Path(script_libvirt.__file__).with_name("script-libvirt.sh").read_text(encoding="utf-8")
    functions = body[body.index("find_emulator()") : body.index("write_xml()")]
    (tmp_path / "head.sh").write_text(f"{head}\n{functions}xml_destination\n", encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "DESTINATION_FUNCTION_2": "0001:02:03.4"}
    ran = subprocess.run(["sh", tmp_path / "head.sh"], env=environment, capture_output=True, text=True, check=True)
    hostdevs = ElementTree.fromstring(ran.stdout).findall("devices/hostdev")
    assert [hostdev.get("type") for hostdev in hostdevs] == ["pci", "pci", "mdev"]
    addresses = [next(hostdev.iterfind("source/address")).attrib for hostdev in hostdevs]
    assert [hostdev.get("managed") for hostdev in hostdevs] == ["no", "yes", "no"]
    needed = re.findall(r'need_function "\$(\w+)"', script)
    assert needed == ["SOURCE_FUNCTION_1", "DESTINATION_FUNCTION_1"]
    (line,) = [line for line in script.splitlines() if "with a driver of VFIO already" in line]
    assert line.endswith(": virtual function 3 of 0000:3b:00.0")
    assert addresses[:2] == [
        {"domain": "0x0000", "bus": "0x3b", "slot": "0x02", "function": "0x5"},
        {"domain": "0x0001", "bus": "0x02", "slot": "0x03", "function": "0x4"},
    ]


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return found[1]


def test_what_virsh_is_told() -> None:
    """Flags and parameters in virsh's words; where to is a matter of the run."""
    settings = MigrationSettings(
        peer_to_peer=True,
        max_bandwidth=8 << 20,
        capabilities={"multifd": True, "auto-converge": True},
        parameters={"multifd-channels": 3, "cpu-throttle-initial": 40},
    )
    assert " ".join(list_options(settings)) == (
        "--live --p2p --parallel --auto-converge --bandwidth 8 --available-switchover-bandwidth 64 "
        "--parallel-connections 3 --auto-converge-initial 40"
    )


VIRSH = """
case $* in
*domstate*) [ ! -e "$STATE/gone" ] && echo running ;;
*domjobinfo*) printf 'Job type: 2\\n\\nmemory_remaining: 0\\nvfio_data_transferred: 5\\n' ;;
qemu-monitor-event*)
    while [ ! -e "$STATE/status" ]; do sleep 0.1; done
    for status in $(cat "$STATE/status"); do
        case $status in completed | failed) while [ ! -e "$STATE/let-go" ]; do sleep 0.1; done ;; esac
        echo "event MIGRATION at 1.2 for domain 'x': {\\"status\\":\\"$status\\"}"
    done
    exec sleep 60 ;;
migrate-setmaxdowntime*) echo "$*" >>"$STATE/log"; case $3 in 4000) : >"$STATE/let-go" ;; esac ;;
migrate*)
    echo "$*" >>"$STATE/log"
    echo "$STATUSES" >"$STATE/status"
    case $STATUSES in *active*) while [ ! -e "$STATE/let-go" ]; do sleep 0.1; done ;; esac
    [ -z "$WORDS" ] || { echo "error: $WORDS" >&2; exit 1; } ;;
*) echo "$*" >>"$STATE/log" ;;
esac
"""

# the script's clock ticks ten times as quick
SLEEP = f'case $1 in 1 | 2) exec {shutil.which("sleep")} 0.$1 ;; *) exec {shutil.which("sleep")} "$@" ;; esac\n'


@pytest.mark.parametrize(
    ("statuses", "words", "verdict"),
    [
        ("setup active completed", "", VerdictName.COMPLETED),
        ("setup active failed", "operation failed", VerdictName.FAILED),
        ("", "operation is not valid: cannot migrate domain", VerdictName.BLOCKED),
        ("", "internal error: process exited while connecting to monitor: no such property", VerdictName.REFUSED),
    ],
)
def test_libvirts_script_comes_to_a_verdict(tmp_path: Path, statuses: str, words: str, verdict: VerdictName) -> None:
    """By virsh's exit status, QEMU's statuses and libvirt's words; held back until all is drained, then let go."""
    script = tmp_path / "repro.sh"
    case = by_libvirt(Case("plain", SideSpec(GuestSpec(), ()), SideSpec(GuestSpec(), ())))
    script.write_text(render_script(record_of(case, verdict)), encoding="utf-8")
    (tmp_path / "bin").mkdir()
    write_program(tmp_path / "bin" / "virsh", VIRSH)
    write_program(tmp_path / "bin" / "sleep", SLEEP)
    (tmp_path / "work" / "source").mkdir(parents=True)
    environment = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "WORK": str(tmp_path / "work"),
        "STATE": str(tmp_path),
        "STATUSES": statuses,
        "WORDS": words,
        "DESTINATION": "10.0.0.2",
    }
    ran = subprocess.run(
        ["sh", script, "migrate"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"verdict: {verdict}, as recorded" in ran.stdout
    log = (tmp_path / "log").read_text().splitlines()
    domain = head_of(script.read_text())["DOMAIN"]
    assert log[:2] == [
        f"migrate-setmaxdowntime {domain} {HOLD_LIMIT_MS}",
        f"migrate --live --available-switchover-bandwidth 64 --xml {tmp_path}/work/source/destination.xml "
        f"--migrateuri tcp://10.0.0.2 {domain} qemu+ssh://root@10.0.0.2/system",
    ]
    assert log[2:] == ([f"migrate-setmaxdowntime {domain} 4000"] if statuses else [])

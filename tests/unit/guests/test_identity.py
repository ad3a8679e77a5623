# SPDX-License-Identifier: GPL-2.0-or-later
"""Who a guest is: written by the harness, read by the guest's own script, which runs here with other paths."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from switchover.guests.qemu import HELD_IDENTITY, IDENTITY_BYTES, GuestKeys, prepare_files, render_identity
from switchover.guests.spec import GuestFiles, GuestSpec
from switchover.hosts.host import Completed
from switchover.hosts.local import LocalHost
from switchover.hosts.waiting import wait_until
from switchover.lab.keys import generate_key_pair
from switchover.record.paths import data_directory

LOGIN, HOST = generate_key_pair(), generate_key_pair()
KEYS = GuestKeys(f"{LOGIN.public}\n", LOGIN.private, HOST.private, HOST.public)
MAC = "52:54:00:53:67:02"
SPEC = GuestSpec(mac=MAC, address="10.77.0.102", prefix=24)
SHELLS = [["sh"], ["bash"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]
BEGIN = "# A guest that is to be saved"
PROGRAMS = 'ip() { echo "ip $*" >>TREE/done; }; dropbearconvert() { echo "dropbearconvert $*" >>TREE/done; }\n'


class Guest:
    """A guest's files in a directory, and the part of its script that takes on who it is."""

    def __init__(self, tree: Path, shell: list[str]) -> None:
        self.tree = tree
        self.shell = shell
        for directory in ("fw/identity", "root", "run", "net/eth0"):
            (tree / directory).mkdir(parents=True)
        (tree / "net/eth0/address").write_text("52:54:00:53:67:01\n")
        (tree / "cmdline").write_text("console=ttyS0 switchover.address=192.0.2.7/24\n")
        self.identity = tree / "fw" / "identity" / "raw"

    def run(self) -> Completed:
        text = (data_directory("images") / "guest" / "rc").read_text()
        head, begin, rest = text.partition(BEGIN)
        assert begin
        (say,) = [line for line in head.splitlines() if line.startswith("say()")]
        script = f"fw=TREE/fw\n{PROGRAMS}{say}\n{rest.partition(chr(10))[2]}".replace(">/dev/console", ">>TREE/console")
        for path, here in (
            ("/root/", "TREE/root/"),
            ("/run/", "TREE/run/"),
            (">/dev/urandom", ">TREE/random"),
            ("/proc/cmdline", "TREE/cmdline"),
            ("/sys/class/net/", "TREE/net/"),
        ):
            assert path in script
            script = script.replace(path, here)
        return LocalHost().run([*self.shell, "-c", script.replace("TREE", str(self.tree))])

    def read(self, path: str) -> str:
        return (self.tree / path).read_text() if (self.tree / path).exists() else ""


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Guest:
    return Guest(tmp_path, request.param)


def check_taken(guest: Guest) -> None:
    assert guest.read("root/.ssh/authorized_keys") == f"{LOGIN.public}\n"
    assert guest.read("run/ssh_host_ed25519_key").strip() == HOST.private.strip()
    taken = f"ip link set eth0 address {MAC}\nip address add 10.77.0.102/24 dev eth0\nip link set eth0 up\n"
    assert taken in guest.read("done")
    assert "192.0.2.7" not in guest.read("done")
    assert len(guest.read("random").strip()) == 128
    assert guest.read("console").endswith("switchover-guest: ready\n")
    for path in ("root/.ssh/authorized_keys", "run/ssh_host_ed25519_key", "run/identity"):
        assert (guest.tree / path).stat().st_mode & 0o077 == 0, "nobody else reads it"


def test_an_identity_is_taken_on(guest: Guest) -> None:
    """The key that it lets in, its own host key, its addresses and numbers to draw others from are read as they were
    written.
    """
    guest.identity.write_bytes(render_identity(SPEC, KEYS))
    assert guest.run().stderr == b""
    check_taken(guest)
    assert "held" not in guest.read("console")


def test_a_guest_that_is_held_waits(guest: Guest) -> None:
    """It takes on nothing until it has another identity, and then that one."""
    guest.identity.write_bytes(HELD_IDENTITY)
    seen: list[str] = []

    def restore() -> None:
        wait_until("the guest to be held", lambda: "switchover-guest: held\n" in guest.read("console"), timeout=20)
        seen.append(guest.read("console") + guest.read("done") + guest.read("root/.ssh/authorized_keys"))
        other = guest.identity.with_name("other")  # at once, as in a guest that is restored
        other.write_bytes(render_identity(SPEC, KEYS))
        other.rename(guest.identity)

    thread = threading.Thread(target=restore)
    thread.start()
    guest.run()
    thread.join(20)
    assert seen == ["switchover-guest: held\n"]
    check_taken(guest)


def test_a_nic_that_has_its_address_is_left_alone(guest: Guest) -> None:
    """As in a guest that boots: a process less."""
    guest.identity.write_bytes(render_identity(SPEC, KEYS))
    (guest.tree / "net/eth0/address").write_text(f"{MAC}\n")
    guest.run()
    assert "address 52" not in guest.read("done")
    assert "ip address add 10.77.0.102/24 dev eth0\n" in guest.read("done")


def test_a_guest_without_identity(guest: Guest) -> None:
    """As in repro.sh: its address is on its kernel's command line, and nobody is let in."""
    guest.run()
    assert guest.read("root/.ssh/authorized_keys") == ""
    assert "ip address add 192.0.2.7/24 dev eth0" in guest.read("done")
    assert "ip link set eth0 address" not in guest.read("done"), "nobody said which"
    assert guest.read("console") == "switchover-guest: ready\n"


def test_every_identity_is_of_one_size() -> None:
    """The guest's kernel keeps the size of the file from when it was saved; one that is held has nothing else in it."""
    assert len(render_identity(SPEC, KEYS)) == len(HELD_IDENTITY) == IDENTITY_BYTES
    assert HELD_IDENTITY.rstrip(b"\0") == b"held\n"
    assert not render_identity(SPEC, KEYS).startswith(b"held")


def test_no_two_guests_draw_the_same_numbers() -> None:
    """Restored from one file they would: each identity has a seed of its own, and nothing else that differs."""

    def seed_of(identity: bytes) -> tuple[str, list[str]]:
        lines = identity.decode().splitlines()
        (seed,) = [line for line in lines if line.startswith("seed ")]
        return seed, [line for line in lines if line != seed]

    (first, rest), (second, same) = (seed_of(render_identity(SPEC, KEYS)) for _ in range(2))
    assert first != second
    assert rest == same


@pytest.mark.parametrize("held", [False, True])
def test_files_of_a_guest(tmp_path: Path, held: bool) -> None:
    """Its identity, and apart from it the keys for a guest of the user, each whole; for nobody else to read."""
    files = GuestFiles(str(tmp_path / "guest"), "tap")
    prepare_files(LocalHost(), replace(SPEC, bridge=""), files, KEYS, held=held)
    directory = Path(files.directory)
    identity = (directory / "identity").read_bytes()
    assert identity == HELD_IDENTITY if held else identity[:11] == b"switchover\n"
    assert len(identity) == IDENTITY_BYTES
    assert (directory / "ssh_host_ed25519_key").read_text() == KEYS.host_private
    assert (directory / "authorized_keys").read_text() == KEYS.authorized
    assert directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir())

# SPDX-License-Identifier: GPL-2.0-or-later
"""The inventory: what it may say, what is said when it is wrong, and how its hosts are reached."""

import json
import os
from pathlib import Path

import pytest
from tests.unit.fakes import SshServer, start_ssh_server

from switchover.hosts.inventory import HostEntry, Inventory, load_inventory, name_machine, open_inventory_host
from switchover.lab.host_kinds import reach_host
from switchover.lab.keys import generate_key_pair
from switchover.record.errors import HostLost, NotReady, UsageError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
WHOLE = f"""
version = 1

[host.rack-1]
address = "10.0.0.11"
port = 2222
user = "lab"
key = "~/.ssh/lab"
host_key = "[10.0.0.11]:2222 {KEY} root@rack-1"
link = "192.168.7.1"
tags = ["mlx5"]
qemu = ["/opt/qemu-11/bin/qemu-system-x86_64"]

[[host.rack-1.device]]
name = "vf"
pci = "3B:00.2"
tags = ["vf"]

[[host.rack-1.device]]
mdev = {{ parent = "/sys/devices/platform/refdev", type = "refdev-4vec" }}

[host.rack2]
address = "rack2"
"""


def load(tmp_path: Path, text: str) -> Inventory:
    path = tmp_path / "inventory.toml"
    path.write_text(text)
    return load_inventory(path)


def test_a_whole_inventory(tmp_path: Path) -> None:
    """Every key is read; addresses and keys come out in one form; the rest has defaults."""
    inventory = load(tmp_path, WHOLE)
    rack1, rack2 = inventory.require("rack-1"), inventory.require("rack2")
    assert (rack1.address, rack1.port, rack1.user, rack1.host_key) == ("10.0.0.11", 2222, "lab", KEY)
    assert [device.describe() for device in rack1.device] == [
        "vf (0000:3b:00.2)",
        "/sys/devices/platform/refdev refdev-4vec",
    ]
    assert (rack1.migration_address, rack2.migration_address) == ("192.168.7.1", "rack2")
    assert (rack2.port, rack2.user, rack2.device) == (22, "root", [])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", ":2: version: must be 1 (it is 2)"),
        ("version = 1\n", "\n", ": version: is missing"),
        ('pci = "3B:00.2"', "pci = 3B:00.2", ":16: this is no TOML"),
        ('pci = "3B:00.2"', "pci = 03:00:02", ":16: host.rack-1.device[0].pci: is a time to TOML; quote the value"),
        ('pci = "3B:00.2"', 'pci = "3B:00"', ":16: host.rack-1.device[0].pci: must be a PCI address"),
        ("port = 2222", 'port = "2222"', ":6: host.rack-1.port: must be a whole number (it is '2222')"),
        ("link =", "linc =", ":10: host.rack-1.linc: unknown key; did you mean 'link'? Allowed: address,"),
        ('address = "rack2"', "", ":22: host.rack2.address: is missing"),
        ("type =", "typ =", ":20: host.rack-1.device[1].mdev.typ: unknown key; did you mean 'type'?"),
        ("mdev = {", 'pci = "01:00.0"\nmdev = {', ":19: host.rack-1.device[1]: a device has either pci or mdev"),
        (KEY, "ssh-rsa AAAA", ":9: host.rack-1.host_key: must be an ed25519 key"),
        (f" {KEY} root@rack-1", " ssh-ed25519", ":9: host.rack-1.host_key: must be an ed25519 key"),
        ('"/opt/', '"opt/', ":12: host.rack-1.qemu[0]: must be an absolute path on the host"),
        ("[host.rack2]", "[host.local]", "a host cannot be named 'local'"),
        ("[host.rack2]", "[host.'a b']", "a host cannot be named 'a b'"),
        ('address = "rack2"', 'address = ""', ":23: host.rack2.address: must be a name or an address of a machine"),
        ('address = "rack2"', 'address = " "', ":23: host.rack2.address: must be a name or an address of a machine"),
        ('address = "rack2"', 'address = "a b"', ":23: host.rack2.address: must be a name or an address of a machine"),
        ("port = 2222", 'port = 22\n[host.b]\naddress = "10.0.0.11"', "two names for one machine: 'rack-1' and 'b'"),
    ],
)
def test_errors_say_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each mistake is told with file, line and key, and what is allowed there."""
    assert old in WHOLE
    with pytest.raises(UsageError) as error:
        load(tmp_path, WHOLE.replace(old, new))
    assert str(tmp_path / "inventory.toml") in error.value.what
    assert message in error.value.what


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Rack1.Lab.", 22), ("rack1.lab", 22)),
        (("fe80:0:0::1", 22), ("FE80::1", 22)),
        (("::ffff:10.0.0.1", 2222), ("10.0.0.1", 2222)),
        (("localhost", 2201), ("127.0.0.1", 2201)),
    ],
)
def test_one_machine_by_two_spellings(tmp_path: Path, one: tuple[str, int], other: tuple[str, int]) -> None:
    """An inventory in which two names are one address and port is wrong, however the address is spelled."""
    assert name_machine(*one) == name_machine(*other)
    lines = ["version = 1"]
    for name, (address, port) in zip("ab", (one, other), strict=True):
        lines += [f"[host.{name}]", f'address = "{address}"', f"port = {port}"]
    with pytest.raises(UsageError, match=r"two names for one machine: 'a' and 'b' are both "):
        load(tmp_path, "\n".join(lines))


def test_machines_behind_one_address(tmp_path: Path) -> None:
    """Several ports of one address are several machines, and so are two addresses."""
    assert [name_machine("a", 22), name_machine("a", 2201), name_machine("::1", 22), name_machine("::1", 2201)] == [
        "a",
        "a:2201",
        "::1",
        "[::1]:2201",
    ]
    entries = '[host.a]\naddress = "x"\nport = 1\n[host.b]\naddress = "x"\nport = 2\n[host.c]\naddress = "y"\n'
    assert len(load(tmp_path, f"version = 1\n{entries}").host) == 3


def test_no_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a default file there are no hosts; a file that was named must be there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_inventory().host == {}
    (tmp_path / "switchover").mkdir()
    (tmp_path / "switchover" / "inventory.toml").write_text(WHOLE)
    assert list(load_inventory().host) == ["rack-1", "rack2"]
    with pytest.raises(UsageError, match="cannot be read"):
        load_inventory(tmp_path / "none.toml")


def test_a_virtual_function(tmp_path: Path) -> None:
    """It is told by its physical function and its number, with a driver of VFIO; both are of PCI functions only."""
    text = WHOLE.replace('pci = "3B:00.2"', 'pci = "3B:00.0"\nvf = 2\nvfio_driver = "mlx5_vfio_pci"')
    device, other = load(tmp_path, text).require("rack-1").device
    assert (device.vf, device.vfio_driver) == (2, "mlx5_vfio_pci")
    assert device.describe() == "vf (virtual function 2 of 0000:3b:00.0)"
    assert (other.vf, other.vfio_driver) == (None, "")
    for wrong in (text.replace("vf = 2", "vf = -1"), text.replace("mlx5_vfio_pci", "mlx5_core")):
        with pytest.raises(UsageError, match=r"device\[0\]\.vf"):
            load(tmp_path, wrong)
    with pytest.raises(UsageError, match="vf and vfio_driver are of a device with pci"):
        load(tmp_path, WHOLE.replace("mdev = {", "vf = 0\nmdev = {"))


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    """An unknown name comes with the one that was likely meant."""
    with pytest.raises(UsageError, match=r"no host 'rack1'; did you mean 'rack-1'\?"):
        load(tmp_path, WHOLE.replace("rack2", "other")).require("rack1")


def make_entry(server: SshServer, tmp_path: Path, **changes: object) -> HostEntry:
    """The test server as an entry of an inventory."""
    key = tmp_path / "key"
    key.write_text(server.user_key.private)
    values = {"address": "127.0.0.1", "port": server.port, "key": str(key), "host_key": server.host_key.public}
    return HostEntry.model_validate(values | changes)


def test_commands_run_on_a_host(tmp_path: Path) -> None:
    """A host of the inventory is logged in to and runs commands under its name."""
    with start_ssh_server() as server, open_inventory_host("rack1", make_entry(server, tmp_path)) as host:
        assert host.name == "rack1"
        assert host.run(["echo", "there"]).text == "there\n"


def test_reached_again_by_its_address(tmp_path: Path) -> None:
    """The next process reaches the host by its address alone, which is plain text, without the inventory."""
    with start_ssh_server() as server:
        with open_inventory_host("rack1", make_entry(server, tmp_path)) as host:
            address = json.loads(json.dumps(dict(host.address)))
        context = reach_host(address)
        assert context is not None
        with context as again:
            assert (again.name, again.run(["echo", "there"]).text) == ("rack1", "there\n")
    for damaged in ({**address, "port": "x"}, {"kind": "inventory", "name": "rack1"}, {**address, "later": "1"}):
        with pytest.raises(NotReady, match="cannot reach a host with the address"):
            reach_host(damaged)


def test_another_host_key(tmp_path: Path) -> None:
    """A host with another key than the inventory's is not logged in to."""
    with start_ssh_server() as server:
        entry = make_entry(server, tmp_path, host_key=generate_key_pair().public)
        with pytest.raises(HostLost) as error, open_inventory_host("rack1", entry):
            pass
        assert "another host key" in error.value.why


def test_host_key_from_known_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without host_key the one of ~/.ssh/known_hosts counts; without that nobody logs in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    with start_ssh_server() as server:
        entry = make_entry(server, tmp_path, host_key=None)
        with pytest.raises(NotReady) as error, open_inventory_host("rack1", entry):
            pass
        assert f"ssh-keyscan -t ed25519 -p {server.port} 127.0.0.1" in error.value.fix
        (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key.public}\n")
        with open_inventory_host("rack1", entry) as host:
            assert host.run(["echo", "there"]).text == "there\n"


def test_a_host_that_is_down(tmp_path: Path) -> None:
    """Nobody listening is a lost host with its address."""
    with start_ssh_server() as server:
        entry = make_entry(server, tmp_path)
    with (
        pytest.raises(HostLost, match=f"rack1 does not answer at 127.0.0.1 port {entry.port}"),
        open_inventory_host("rack1", entry),
    ):
        pass


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    """No key file, one that is no key, and one with a passphrase are told apart, with the way out."""
    entry = HostEntry(address="127.0.0.1", port=1, host_key=KEY, key=str(tmp_path / "none"))
    with pytest.raises(NotReady, match="cannot be used") as error, open_inventory_host("rack1", entry):
        pass
    assert "ssh-keygen -t ed25519" in error.value.fix
    (tmp_path / "none").write_text("no key")
    with pytest.raises(NotReady, match="cannot be used"), open_inventory_host("rack1", entry):
        pass
    os.unlink(tmp_path / "none")
    write_key_with_passphrase(tmp_path / "none")
    with pytest.raises(NotReady, match="has a passphrase"), open_inventory_host("rack1", entry):
        pass


def write_key_with_passphrase(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(b"secret")))

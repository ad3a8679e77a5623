# SPDX-License-Identifier: GPL-2.0-or-later
"""The inventory: real hosts with their devices, as a TOML file that people write (docs/hosts.md)."""

import contextlib
import io
import ipaddress
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Literal, Self

import paramiko
import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from switchover.hosts.host import Address, Host
from switchover.hosts.host_kind import build_openssh
from switchover.hosts.local import LocalHost
from switchover.hosts.ssh import SshHost, SshLogin
from switchover.record.errors import HostLost, NotReady, UsageError
from switchover.record.toml import load_model, read_toml, suggest

KIND = "inventory"
"""Of the addresses of its hosts, see :attr:`Host.address`."""
LOCAL = "local"
"""Name of the controller as a host; no host of an inventory may have it."""
_ADDRESS = re.compile(r"([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_CONNECT_TIMEOUT_S = 10


def _check_address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError('must be a PCI address as lspci -D prints it, "0000:3b:00.2"')
    return text.lower() if text.count(":") == 2 else f"0000:{text.lower()}"


def _check_host_key(text: str) -> str:
    """A line of known_hosts, of ssh-keyscan or of a ``.pub`` file, reduced to the key."""
    words = text.split()
    if "ssh-ed25519" not in words[:-1]:
        raise ValueError('must be an ed25519 key, "ssh-ed25519 AAAA…", as ssh-keyscan -t ed25519 ADDRESS prints it')
    start = words.index("ssh-ed25519")
    return " ".join(words[start : start + 2])


def _check_absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must be an absolute path on the host")
    return text


def _check_where(text: str) -> str:
    if not text.strip() or text.split() != [text]:
        raise ValueError("must be a name or an address of a machine, without blanks")
    return text


def name_machine(address: str, port: int) -> str:
    """One name for a machine, however it is written: ``10.0.0.11``, and ``10.0.0.11:2222`` behind another port than 22.

    No name is looked up: two names that lead to one address are two machines here, and one of its kernel's
    (:func:`switchover.hosts.host_lock.lock_host`). Behind several ports of one address are several machines.
    """
    text = address.strip().lower().rstrip(".")
    text = "127.0.0.1" if text == "localhost" else text
    with contextlib.suppress(ValueError):
        ip = ipaddress.ip_address(text)
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        text = str(mapped or ip)
    if port == 22:
        return text
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


PciAddress = Annotated[str, AfterValidator(_check_address)]
AbsolutePath = Annotated[str, AfterValidator(_check_absolute)]


class _Table(BaseModel):
    """Text becomes what it says or an error: no number from a string, no key that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MdevEntry(_Table):
    """A mediated device that is made when it is needed. ``parent``: its path in sysfs."""

    parent: AbsolutePath
    type: str


class DeviceEntry(_Table):
    """A device of a host: a PCI function or a type of mediated device, never both.

    ``vf``: not the function itself but its virtual function with this number; ``vfio_driver``: the driver that has it
    while a guest does, empty: the one that the host's kernel names for it.
    """

    name: str = ""
    pci: PciAddress | None = None
    vf: int | None = Field(default=None, ge=0)
    vfio_driver: str = Field(default="", pattern="vfio|^$")
    mdev: MdevEntry | None = None
    tags: list[str] = []

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.pci is None) == (self.mdev is None):
            raise ValueError("a device has either pci or mdev")
        if self.pci is None and (self.vf is not None or self.vfio_driver):
            raise ValueError("vf and vfio_driver are of a device with pci")
        return self

    def describe(self) -> str:
        function = self.pci if self.vf is None else f"virtual function {self.vf} of {self.pci}"
        what = function if self.mdev is None else f"{self.mdev.parent} {self.mdev.type}"
        return f"{self.name} ({what})" if self.name else str(what)


class HostEntry(_Table):
    """A host. ``link``: the address at which the other host's QEMU reaches it for migrations."""

    address: Annotated[str, AfterValidator(_check_where)]
    port: int = Field(default=22, ge=1, le=65535)
    user: str = "root"
    key: str = "~/.ssh/id_ed25519"
    host_key: Annotated[str, AfterValidator(_check_host_key)] | None = None
    link: str | None = None
    tags: list[str] = []
    qemu: list[AbsolutePath] = []
    device: list[DeviceEntry] = []

    @property
    def migration_address(self) -> str:
        return self.link or self.address

    @property
    def machine(self) -> str:
        """Which machine it is, see :func:`name_machine`."""
        return name_machine(self.address, self.port)


class Inventory(_Table):
    """All hosts by name. ``labgrid``: ``HOST:PORT`` of a coordinator that leases them; empty: there is none."""

    version: Literal[1]
    labgrid: str = ""
    host: dict[str, HostEntry] = {}

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.host:
            if name == LOCAL or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise ValueError(f"a host cannot be named {name!r}: letters, digits, - _ . but not {LOCAL!r}")
        return self

    @model_validator(mode="after")
    def _machines(self) -> Self:
        names: dict[str, str] = {}
        for name, entry in self.host.items():
            other = names.setdefault(entry.machine, name)
            if other != name:
                raise ValueError(f"two names for one machine: {other!r} and {name!r} are both {entry.machine}")
        return self

    def require(self, name: str) -> HostEntry:
        """:raises UsageError: the inventory has no such host"""
        if name not in self.host:
            names = list(self.host)
            raise UsageError(f"The inventory has no host {name!r}{suggest(name, names)}.", fix="switchover hosts")
        return self.host[name]


def default_path() -> Path:
    """``~/.config/switchover/inventory.toml`` (``XDG_CONFIG_HOME``)."""
    return platformdirs.user_config_path("switchover", appauthor=False) / "inventory.toml"


def load_inventory(path: Path | None = None) -> Inventory:
    """The inventory in a file; without ``path`` the default one, which is empty where there is no such file.

    :raises UsageError: the file is not there, or wrong; every error with file, line and key
    """
    if path is None:
        path = default_path()
        if not path.exists():
            return Inventory(version=1)
    return load_model(read_toml(path), Inventory)


@contextlib.contextmanager
def open_inventory_host(name: str, entry: HostEntry) -> Iterator[SshHost]:
    """A connection to a host for the time of a ``with`` block; its host key is checked.

    Without ``host_key`` the key is the one of ``~/.ssh/known_hosts``.

    :raises HostLost: it does not answer, with another host key, or lets nobody in
    :raises NotReady: the private key cannot be read, or the host key is not known
    """
    login = SshLogin(name, _read_private_key(name, entry), _require_host_key(name, entry), entry.user)
    try:
        connection = LocalHost().open_tcp(entry.address, entry.port, timeout=_CONNECT_TIMEOUT_S)
    except OSError as error:
        raise HostLost(f"{name} does not answer at {entry.address} port {entry.port}.", why=str(error)) from error
    address = {
        "kind": KIND,
        "name": name,
        "address": entry.address,
        "port": str(entry.port),
        "user": entry.user,
        "key": entry.key,
        "host_key": login.host_key,
    }
    with SshHost(login, connection, address=address) as host:
        yield host


class InventoryKind:
    """Hosts by the address that a journal has of them, whatever the inventory says by now; satisfies
    :class:`switchover.hosts.host_kind.HostKind`.
    """

    name = KIND
    keys = frozenset({"name", "address", "port", "user", "key", "host_key"})

    def reach(self, address: Address) -> AbstractContextManager[Host]:
        values = {key: value for key, value in address.items() if key not in ("kind", "name")}
        try:
            entry = HostEntry.model_validate({**values, "port": int(address["port"])})
        except ValueError as error:
            raise NotReady(
                f"This version of switchover cannot reach a host with the address {dict(address)}."
            ) from error
        return open_inventory_host(address["name"], entry)

    def build_login(self, address: Address) -> list[str]:
        key = str(Path(address["key"]).expanduser())
        whom = f"{address['user']}@{address['address']}"
        return [*build_openssh(key, address["host_key"], "its-host"), "-p", address["port"], whom]


def _read_private_key(name: str, entry: HostEntry) -> str:
    path = Path(entry.key).expanduser()
    try:
        text = path.read_text()
        paramiko.Ed25519Key.from_private_key(io.StringIO(text))
    except paramiko.PasswordRequiredException as error:
        fix = f"give {name} a key of its own without one: ssh-keygen -t ed25519 -N '' -f {path}-switchover"
        raise NotReady(f"The key {path} of {name} has a passphrase.", fix=fix) from error
    except (OSError, ValueError, paramiko.SSHException) as error:
        raise NotReady(
            f"The key {path} of {name} cannot be used; it must be an ed25519 key in OpenSSH's format.",
            why=str(error),
            fix=f"ssh-keygen -t ed25519 -N '' -f ~/.ssh/switchover, then key = \"~/.ssh/switchover\" for {name}",
        ) from error
    return text


def _require_host_key(name: str, entry: HostEntry) -> str:
    if entry.host_key is not None:
        return entry.host_key
    looked_up = entry.address if entry.port == 22 else f"[{entry.address}]:{entry.port}"
    known = paramiko.HostKeys()
    with contextlib.suppress(OSError, paramiko.SSHException):
        known.load(str(Path("~/.ssh/known_hosts").expanduser()))
    if keys := known.lookup(looked_up):
        for kind, key in keys.items():
            if kind == "ssh-ed25519":
                return f"{kind} {key.get_base64()}"
    raise NotReady(
        f"The host key of {name} is not known.",
        why=f"there is no host_key in the inventory, and no ssh-ed25519 key of {looked_up} in ~/.ssh/known_hosts",
        fix=f"ssh-keyscan -t ed25519 -p {entry.port} {entry.address}, compare it with the host's own, "
        "and put it into the inventory as host_key",
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest run by QEMU on a host, driven through QMP."""

import contextlib
import re
import secrets
import shlex
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from switchover.guests.arguments import build_arguments
from switchover.guests.console import Console, find_fatal, find_trouble
from switchover.guests.hotplug import plug_device, unplug_device
from switchover.guests.login import read_host_key, read_private_key
from switchover.guests.spec import OVMF_VARIABLES, GuestFiles, GuestSpec, Launch, VfioDevice
from switchover.hosts.host import Host, Running, paste
from switchover.hosts.journal import own_journal
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.questions import ask_together
from switchover.hosts.ssh import SshHost, SshLogin
from switchover.hosts.undo import end_processes
from switchover.hosts.waiting import pace, stretch, wait_until
from switchover.record.errors import Deadline, GuestCrashed, GuestSilent, HostLost, NotReady, Refused, UsageError

_READY = ("switchover-guest: ready", "Not backgrounding")  # images/guest/rc, and dropbear's own words
_HELD = "switchover-guest: held"
_ASK_S = 1.0
_CANCEL_S = 180
"""A device may be saved meanwhile, and QEMU answers nothing then."""
_GREETING_S = 5.0
_RESET_S = 30.0
_END_S = 10.0
"""Between the end of a QEMU's monitor and its own."""
_OF_SHUTDOWN = {"guest-reset": ": the guest reset itself, which -no-reboot makes an end"}
"""What a ShutdownCause of QEMU (qapi/run-state.json) says of a guest, where its name does not."""


@dataclass(frozen=True)
class GuestKeys:
    """How one gets into a guest: the key it lets in (public), the key to log in with, and its own host key pair.

    ``user``: who logs in.
    """

    authorized: str
    login: str
    host_private: str
    host_public: str
    user: str = "root"

    def for_guest(self, spec: GuestSpec) -> "GuestKeys":
        """With the guest's own in place of those that it would be given. The latter are offered all the same.

        :raises UsageError: one of its own cannot be read any more
        """
        try:
            return replace(
                self,
                login=read_private_key(spec.ssh_key) if spec.ssh_key else self.login,
                host_public=read_host_key(spec.ssh_host_key) if spec.ssh_host_key else self.host_public,
                user=spec.ssh_user,
            )
        except ValueError as error:
            raise UsageError(f"A key of the guest {spec.name} cannot be read.", why=str(error)) from error


@dataclass(frozen=True)
class GuestEvidence:
    """What a QEMU left behind when it ended or was ended. ``domain``: XML of one that libvirt ran; ``domain_events``:
    what libvirt told of it.
    """

    command: str
    console: str
    log: str
    stderr: str
    domain: str = ""
    domain_events: tuple[Mapping[str, Any], ...] = ()


class QemuGuest:
    """One QEMU process with its guest: monitor, console, SSH. Made by :func:`start_guest`."""

    def __init__(
        self, launch: Launch, host: Host, side: str, files: GuestFiles, argv: list[str], process: Running
    ) -> None:
        self.launch = launch
        self.host = host
        self.side = side
        self.files = files
        self.argv = argv
        self._process = process
        self.console: Console
        self.qmp: QmpSession
        self.killed = False
        """Whether the harness ended it, while it lived, as a crash would."""
        self.told: dict[str, object] = {}
        """Migration parameters that it was given, with the values that it had before."""

    @property
    def spec(self) -> GuestSpec:
        return self.launch.spec

    @property
    def label(self) -> str:
        return f"the {self.side} QEMU on {self.host.name}"

    def take_side(self, side: str) -> None:
        """Which side it is of the next migration: a destination that the guest has come to is the next one's source."""
        if side != self.side:
            self.side = side
            self.qmp.name = self.label

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_begun(self) -> bool:
        """Whether its QEMU was started: libvirt starts that of a destination in the migration."""
        return True

    @property
    def run_by(self) -> str:
        """What runs its QEMU instead of the harness, with its version, as ``libvirt 11.3.0``; empty: nothing does."""
        return ""

    def name_device(self, device_id: str) -> str:
        """What QEMU calls a device of the spec."""
        return device_id

    def cancel_migration(self) -> None:
        """:raises Refused: there is nothing to cancel"""
        self.qmp.execute("migrate_cancel", timeout=_CANCEL_S)

    def pause(self) -> None:
        """Stop the guest's vCPUs."""
        self.qmp.execute("stop")

    def resume(self) -> None:
        """Let a guest run that was paused; one that runs is left as it is."""
        self.qmp.execute("cont")

    def wake(self) -> None:
        """Let a guest go on that has suspended itself."""
        self.qmp.execute("system_wakeup")

    def plug(self, device: VfioDevice, number: int) -> None:
        """Give the guest a device, in the root port with this number, from 1.

        :raises Refused: QEMU, or libvirt, rejected it, in its own words
        """
        plug_device(self.qmp, device, number)

    def unplug(self, device_id: str) -> None:
        """Take a device from the guest, and wait until it has let it go.

        :raises Refused: QEMU, or libvirt, rejected it, in its own words; :raises Deadline: the guest does not let it go
        """
        unplug_device(self.qmp, device_id, [self.require_alive])

    def reboot(self, guest: Host) -> None:
        """Let the guest reboot by its own means, and wait until it can be reached again. ``guest``: a login to it.

        ``set-action`` takes the place of ``-no-reboot`` for once (QEMU 6.0 and newer).

        :raises Refused: QEMU has no ``set-action``; :raises Deadline: the guest does not reset, or does not come up
        """
        self.qmp.execute("set-action", {"reboot": "reset"})
        seen, said = len(self.qmp.events), len(self.console.text())
        try:
            with contextlib.suppress(NotReady):  # the connection goes with the guest
                guest.run(["sh", "-c", "reboot -f || reboot"], check=False)
            wait_until(
                f"the guest of {self.label} to reset",
                lambda: any(event.name == "RESET" for event in self.qmp.events[seen:]),
                timeout=_RESET_S,
                invariants=[self.require_alive],
            )
            self.wait_until_reachable(said=said)
        finally:
            self.qmp.execute("set-action", {"reboot": "shutdown"})

    def require_alive(self) -> None:
        """Invariant of every wait on this guest.

        :raises GuestCrashed: QEMU ended, or the guest's kernel panicked or had an oops
        """
        code = self._process.poll()
        text = self.console.text() if code is None else self._read_console()
        if fatal := find_fatal(text):
            what = f"The guest of {self.label} crashed: {fatal}"
            raise GuestCrashed(what, why="; ".join(find_trouble(text)), side=self.side)
        if code is not None:
            said = self._process.stderr().strip()[-800:] or self._explain_end()
            raise GuestCrashed(
                f"{self.label} ended with exit status {code}.", why=said, exit_status=code, side=self.side
            )

    def _explain_end(self) -> str:
        """What a QEMU that said nothing else last told by QMP of why it shuts down; empty: nothing that was heard."""
        events = self.qmp.events if hasattr(self, "qmp") else ()  # QEMU may end before its monitor is there
        reason = next((event.data.get("reason") for event in reversed(events) if event.name == "SHUTDOWN"), None)
        return f"SHUTDOWN by {reason}{_OF_SHUTDOWN.get(reason, '')}" if reason else ""

    def _read_console(self) -> str:
        """All that the guest of a QEMU that ended wrote: what is followed may lag behind."""
        with contextlib.suppress(NotReady, HostLost, OSError):
            return self.host.read_file(self.files.console).decode(errors="replace")
        return self.console.text()

    def explain_silence(self) -> None:
        """For a QEMU that closed its monitor: as :meth:`require_alive`, once its end can be known."""
        with contextlib.suppress(Deadline):
            wait_until(f"{self.label} to end", lambda: self.exit_status() is not None, timeout=_END_S)
        self.require_alive()

    def is_dead(self) -> bool:
        """Whether QEMU ended, or its guest crashed."""
        return self._process.poll() is not None or bool(find_fatal(self.console.text()))

    def exit_status(self) -> int | None:
        """Of a QEMU that ended; None while it runs. Negative: a signal ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """End the QEMU now, as a crash would; one that has ended is left as it is."""
        self.killed = self.killed or self.exit_status() is None
        self._process.kill()

    def last_words(self) -> str:
        """What a QEMU that ended wrote to its standard error, warnings left out; empty while it runs."""
        if self._process.wait(timeout=0) is None:
            return ""
        return condense_words(self._process.stderr())

    def require_accepted(self) -> None:
        """Invariant while QEMU starts: with exit status 1 it rejects what it was given, and says so in its own words.

        :raises Refused: it did; :raises GuestCrashed: as :meth:`require_alive`
        """
        try:
            self.require_alive()
        except GuestCrashed as error:
            if error.exit_status == 1:
                raise Refused(f"{self.label} did not start.", why=self._process.stderr().strip()[-800:]) from error
            raise

    def wait_until_reachable(self, timeout: float | None = None, *, said: int = 0) -> None:
        """Until the guest's SSH listens: from what it says on its console, which a guest of the user need not say.

        ``timeout``: seconds; without one, the spec's ``boot_timeout_s``, stretched unless it was given. ``said``: so
        many characters of its console are of before.

        :raises Deadline: it does not in that time
        :raises GuestCrashed: QEMU ended or the guest panicked
        """
        asks = bool(self.spec.bridge) and not self.spec.is_of_lab
        wait_until(
            f"the guest of {self.label} to listen for SSH",
            lambda: self._says_ready(said) or (asks and self._answers()),
            timeout=stretch(timeout) if timeout else self.spec.boot_deadline(pace()),
            invariants=[self.require_alive],
            poll=_ASK_S if asks else 0.05,
            exact=True,
        )

    def wait_until_held(self) -> None:
        """Until a guest that was started ``held`` waits to be saved. Raises as :meth:`wait_until_reachable`."""
        wait_until(
            f"the guest of {self.label} to wait for its identity",
            lambda: _HELD in self.console.text(),
            timeout=self.spec.boot_deadline(pace()),
            invariants=[self.require_alive],
            exact=True,
        )

    def _says_ready(self, said: int) -> bool:
        return all(text in self.console.text()[said:] for text in _READY)

    def _answers(self) -> bool:
        """Whether an SSH server greets at the guest's address."""
        try:
            with self.host.open_tcp(self.spec.address, 22, timeout=_GREETING_S) as connection:
                connection.settimeout(stretch(_GREETING_S))
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def open_ssh(self, keys: GuestKeys) -> SshHost:
        """Log in to the guest, through its host.

        :raises GuestSilent: it does not answer, or with another host key
        :raises HostLost: its host does not answer
        """

        def connect() -> socket.socket | None:
            with contextlib.suppress(OSError):
                return self.host.open_tcp(self.spec.address, 22)
            return None

        login = SshLogin(f"guest {self.spec.name}", keys.login, keys.host_public, keys.user)
        try:
            connection = wait_until(
                f"the guest's SSH port at {self.spec.address} through {self.host.name}",
                connect,
                timeout=60,
                invariants=[self.require_alive],
            )
            return SshHost(login, connection, timeout=60)
        except (Deadline, HostLost) as error:
            self.host.run(["true"])  # a host that is lost says so itself
            raise GuestSilent(f"The guest of {self.label} does not answer over SSH.", why=str(error)) from error

    def collect_evidence(self) -> GuestEvidence:
        """Console, QEMU's log with its traces, and its standard error; what cannot be had is left empty."""
        texts = ["", ""]
        with contextlib.suppress(NotReady, OSError):
            paths = {"console": self.files.console, "log": self.files.log}
            questions = {name: f"cat {shlex.quote(path)}" for name, path in paths.items()}
            answers = ask_together(self.host, questions)
            texts = [answers[name].text if answers[name].ok else "" for name in questions]
        with contextlib.suppress(HostLost):
            return GuestEvidence(paste(self.argv), texts[0], texts[1], self._process.stderr())
        return GuestEvidence(paste(self.argv), texts[0], texts[1], "")


_PREFIX = re.compile(r"^(?:\S+Z )?[\w./-]*qemu[\w.-]*: ")


def condense_words(stderr: str) -> str:
    """QEMU's errors in one line: without its name and times, and without warnings.

    >>> condense_words("2026-11-22T02:11:31.68Z qemu-system-x86_64: warning: x\\nqemu-kvm: no: Invalid argument")
    'no: Invalid argument'
    """
    lines = [_PREFIX.sub("", line.strip()) for line in stderr.splitlines() if line.strip()]
    return "; ".join(line for line in lines if ": warning: " not in f": {line}" and not line.startswith("warning: "))


@contextlib.contextmanager
def start_guest(
    launch: Launch,
    host: Host,
    side: str,
    keys: GuestKeys,
    loop: LoopThread,
    *,
    incoming: bool,
    empty_ports: int | None = None,
    held: bool = False,
    more: Sequence[str] = (),
    keep: Callable[[QemuGuest], None] = lambda guest: None,
) -> Iterator[QemuGuest]:
    """A QEMU for the time of a ``with`` block, its monitor connected and its console followed.

    ``incoming``, ``empty_ports``, ``more``: see :func:`build_arguments`; the devices stay in the guest's launch.
    ``held``: see :func:`prepare_files`.
    ``keep`` is called just before QEMU and its files go, also when it does not come up: then without ``qmp``.

    :raises Refused: QEMU rejected a property, a device or its memory, in its own words
    :raises GuestCrashed: QEMU was killed, or ended otherwise
    """
    spec = launch.spec
    ident = uuid.uuid4().hex[:12]
    files = GuestFiles(f"/tmp/switchover-{spec.name}-{side}-{ident}", f"sw{ident}")
    journal = own_journal()
    with contextlib.ExitStack() as stack:
        undo, gone = removal_of_files(files)
        what = f"directory {files.directory}" + (f" and tap {files.tap}" if spec.bridge else "")
        stack.enter_context(journal.change(host, what, undo=undo, gone=gone))
        # before the files are made: the command that makes them is one of these processes, and ends before they go
        undo, gone = end_processes(ident)
        change = stack.enter_context(journal.change(host, f"QEMU of {files.directory}", undo=undo, gone=gone))
        prepare_files(host, spec, files, keys, held=held)
        argv = build_arguments(launch, files, incoming=incoming, empty_ports=empty_ports, more=more)
        process = host.start(argv)
        change.release = process.kill
        guest = QemuGuest(launch, host, side, files, argv, process)
        stack.callback(keep, guest)
        guest.console = Console(host.open_stream(["tail", "-c", "+1", "-F", f"--pid={process.pid}", files.console]))
        stack.callback(guest.console.close)
        guest.qmp = QmpSession(guest.label, host, files.monitor, loop, timeout=60, invariants=[guest.require_accepted])
        stack.callback(guest.qmp.close)
        yield guest


IDENTITY_BYTES = 4096
"""Of the file ``identity``, always: the guest's kernel keeps sizes from when it was saved."""
HELD_IDENTITY = b"held\n".ljust(IDENTITY_BYTES, b"\0")
"""Of a lab's guest that is to be saved: it waits until it has another one (images/guest/rc)."""


def render_identity(spec: GuestSpec, keys: GuestKeys) -> bytes:
    """Who a guest of the lab is: the key it lets in, its addresses, numbers to draw others from, its own host key."""
    lines = (
        "switchover",
        f"authorized {keys.authorized.strip()}",
        f"mac {spec.mac}",
        f"address {spec.address}/{spec.prefix}",
        f"seed {secrets.token_hex(64)}",
        "host",
        keys.host_private,
    )
    return "\n".join(lines).encode().ljust(IDENTITY_BYTES, b"\0")


def prepare_files(
    host: Host, spec: GuestSpec, files: GuestFiles, keys: GuestKeys, *, tap: bool = True, held: bool = False
) -> None:
    """The private directory with the guest's keys and the flash that it writes, and its tap in the host's bridge; one
    command, since each costs.

    ``tap``: whether there is one to be made; ``held``: the guest is to wait before it takes on who it is.
    """
    script = (
        'mkdir -m 700 "$1"; umask 077; dd of="$1/identity" bs="$5" count=1 iflag=fullblock status=none; '
        'cat >"$1/ssh_host_ed25519_key"; echo "$2" >"$1/authorized_keys"; '
        ': >"$1/console.log"; '
        'if [ -n "$4" ]; then ip tuntap add dev "$3" mode tap $6; ip link set dev "$3" master "$4" up; fi; '
        'if [ -e "$7" ]; then cat "$7" >"$8"; fi'
    )
    words = (
        *(files.directory, keys.authorized.strip(), files.tap, spec.bridge if tap else "", str(IDENTITY_BYTES)),
        *("multi_queue" if spec.nic_queues > 1 else "", OVMF_VARIABLES if spec.named_firmware else "", files.variables),
    )
    identity = HELD_IDENTITY if held else render_identity(spec, keys)
    host.run(["sh", "-euc", script, "sh", *words], stdin=identity + keys.host_private.encode())


def removal_of_files(files: GuestFiles) -> tuple[list[str], list[str]]:
    """Undo of :func:`prepare_files`, and its proof."""
    undo = 'if [ -e "/sys/class/net/$2" ]; then ip link delete dev "$2"; fi; rm -rf "$1"'
    gone = 'test ! -e "$1" && test ! -e "/sys/class/net/$2"'
    return ["sh", "-c", undo, "sh", files.directory, files.tap], ["sh", "-c", gone, "sh", files.directory, files.tap]

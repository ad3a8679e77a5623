# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's console as it grows, followed over a stream, and what in it means trouble."""

import contextlib
import re
import socket
import threading

# first words of the kernel's reports (kernel/panic.c, kernel/watchdog.c, kernel/rcu, lib/bug.c,
# arch/x86/kernel/dumpstack.c)
_TROUBLE = re.compile(
    r"^.*(?:Kernel panic - not syncing|"
    r"\bBUG: |\bOops: |WARNING: (?:CPU|\S+:\d+ at )|general protection fault|Call Trace:|"
    r"rcu: INFO: .*detected|watchdog: BUG|Unable to handle kernel|EXT4-fs error).*$",
    re.MULTILINE,
)


_FATAL = ("Kernel panic - not syncing", "BUG: ", "Oops: ", "general protection fault")


def find_fatal(text: str) -> str:
    """The first line of a kernel's console that says it cannot go on as it was; empty if there is none."""
    if not any(words in text for words in _FATAL):
        return ""
    return next((line.strip() for line in text.splitlines() if any(words in line for words in _FATAL)), "")


def find_trouble(text: str) -> list[str]:
    """Lines of a kernel's console that report an oops, a warning with a trace, a stall or a panic."""
    return [match[0].strip() for match in _TROUBLE.finditer(text)]


def is_stall(trouble: str) -> bool:
    """Whether lines of :func:`find_trouble`, with ``;`` between them, say nothing but that CPUs stood still.

    >>> is_stall("[ 167.8] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"), is_stall("BUG: bad page state")
    (True, False)
    """
    return bool(trouble) and all(any(words in line for words in _STALLS) for line in trouble.split("; "))


_STALLS = ("rcu: INFO: ", "watchdog: BUG: soft lockup")


class Console:
    """Follows a console that arrives on a socket; close it when done."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._text = bytearray()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True, name="console")
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._stream.recv(65536):
                with self._lock:
                    self._text += data

    def text(self) -> str:
        with self._lock:
            return self._text.decode(errors="replace")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        self._thread.join(timeout=5)

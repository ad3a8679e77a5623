# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that answers commands from a function."""

import re
import socket
from collections.abc import Callable, Mapping, Sequence

from switchover.hosts.host import Completed, Running, check_completed
from switchover.hosts.waiting import Invariant


class ScriptedHost:
    """``answer``: standard output for a command, or its exit status, or it raises. Keeps the commands."""

    def __init__(self, answer: Callable[[Sequence[str]], str | int], name: str = "fake") -> None:
        self.name = name
        self.address: Mapping[str, str] = {"kind": "fake"}
        self.commands: list[Sequence[str]] = []
        self._answer = answer

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        self.commands.append(argv)
        answer = self._answer(argv)
        code, text = (0, answer) if isinstance(answer, str) else (answer, "")
        completed = Completed(tuple(argv), code, text.encode(), b"")
        return check_completed(self.name, completed) if check else completed

    def start(self, argv: Sequence[str]) -> Running:
        raise AssertionError("not asked for in these tests")

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        raise AssertionError("not asked for in these tests")

    def open_unix(self, path: str, *, wait: float = 0, invariants: Sequence[Invariant] = ()) -> socket.socket:
        raise AssertionError("not asked for in these tests")

    def open_tcp(self, address: str, port: int, *, timeout: float = 10) -> socket.socket:
        raise AssertionError("not asked for in these tests")

    def read_file(self, path: str) -> bytes:
        if path == "/proc/sys/kernel/random/boot_id":
            return b"a-boot\n"
        raise AssertionError("not asked for in these tests")

    def write_file(self, path: str, data: bytes) -> None:
        raise AssertionError("not asked for in these tests")


_QUESTION = re.compile(r"\( (.*?)\n\) 2>&1 </dev/null\nprintf '\\n(==\w+==) (\S+) %s\\n' \$\?", re.DOTALL)


def answer_questions(command: str, answer: Callable[[str, str], str | int]) -> str:
    """What a shell prints for the questions of :func:`ask_together`. ``answer``: for a question's name and script, its
    output, or the exit status of one that fails and says nothing. A command that asks nothing together is its own.
    """
    questions = [(match[2], match[3], match[1]) for match in _QUESTION.finditer(command)]
    if not questions:
        return str(answer("", command))
    told = []
    for mark, name, script in questions:
        said = answer(name, script)
        status, text = (0, said) if isinstance(said, str) else (said, "")
        told.append(f"{text}\n{mark} {name} {status}\n")
    return "".join(told)

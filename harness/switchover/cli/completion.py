# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover completion``: what a shell has to read to complete this command."""

import argparse

from argcomplete.shell_integration import shellcode

from switchover.record.errors import ExitCode

_TYPED = "__switchover_as_typed"
_AS_TYPED = {
    "bash": f'{_TYPED}() {{\n    "${{COMP_WORDS[0]/#\\~/$HOME}}"\n}}\n',
    "zsh": f'{_TYPED}() {{\n    "${{${{(Q)words[1]}}/#\\~/$HOME}}"\n}}\n',
    "fish": f"function {_TYPED}\n    eval (string replace -r '^~/' ~/ -- (commandline -opc)[1] | string escape)\nend\n",
}
"""By shell, a function that runs the program as the line names it: that of a clone is not in PATH. Shells give the word
as it was typed, with a tilde for the home directory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(_AS_TYPED))


def run(arguments: argparse.Namespace) -> int:
    print(render_completion(arguments.shell))
    return ExitCode.AS_EXPECTED


def render_completion(shell: str) -> str:
    """``shell``: bash, zsh or fish. zsh asks that ``#compdef``, if it is there, is the first line."""
    code = shellcode(["switchover"], shell=shell, argcomplete_script=_TYPED).strip("\n")
    first, _, rest = code.partition("\n")
    return f"{first}\n{_AS_TYPED[shell]}{rest}" if first.startswith("#") else f"{_AS_TYPED[shell]}{code}"

# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover completion``: what a shell has to read to complete this command."""

import argparse

from argcomplete.shell_integration import shellcode

from switchover.record.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(arguments: argparse.Namespace) -> int:
    print(shellcode(["switchover"], shell=arguments.shell))
    return ExitCode.AS_EXPECTED

# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that undo changes of several kinds. Each is fine if there is nothing to undo."""


def end_processes(mark: str) -> tuple[list[str], list[str]]:
    """Kill all processes that have ``mark`` on their command line, and the command that proves it (see ``Change``).

    Among them are commands of a harness that was killed, which may be about to make what the next undo removes.
    ``mark``: at least eight characters that nothing else has. Both commands have it in two words, so that they, and
    the shells above them, do not match; a command that is run together with them must not have it in one either.
    Processes in a system call end when it does; the host's time limit ends the wait for them.
    """
    halves = (mark[:4], mark[4:])
    # 1: no such process; anything else, such as a pgrep that is not installed, proves nothing
    return (
        ["sh", "-c", 'while pkill -KILL -f -- "$1$2"; do sleep 0.1; done', "sh", *halves],
        ["sh", "-c", 'pgrep -f -a -- "$1$2" >&2; test $? -eq 1', "sh", *halves],
    )

# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes whose parents ended before them: they come to us instead of init, and we end them.

A group or a session is what a process may leave; its ancestors it may not: see PR_SET_CHILD_SUBREAPER in prctl(2).
"""

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILL_S = 5.0


def adopt_orphans() -> None:
    """From now on, descendants of this process whose parents end become its children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants() -> int:
    """Kill whatever descends from this process; how many processes that were."""
    own, killed = psutil.Process(), set[psutil.Process]()
    # until there is none: one that was just being made is not seen at first
    while found := [process for process in own.children(recursive=True) if process not in killed]:
        for process in found:
            killed.add(process)
            if process.is_running():
                process.kill()
        psutil.wait_procs(found, timeout=_KILL_S)
    return len(killed)


def die_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """From now on, this process gets a signal when its parent, of which ``parent`` is the id, ends, or has ended."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def run_behind(work: Callable[[], None], on_death: Callable[[str], None]) -> int:
    """Do something in a child that this process stands for; the exit status.

    Somebody else may kill this process, and the child still ends in order: it has a session of its own, gets SIGTERM
    when this process gets it or ends, and takes the time it needs. The child may die, and ``on_death`` is told how,
    unless somebody wanted it to end. Of what they started, nothing is left. Must be called before there are threads.
    """
    if threading.active_count() > 1:
        raise AssertionError("a process with threads cannot be forked")
    adopt_orphans()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    parent, above = os.getpid(), os.getppid()
    child = os.fork()
    if child == 0:
        _be_the_child(work, parent, blocked)
    asked: list[int] = []

    def hand_on(number: int, _frame: object) -> None:
        asked.append(number)
        os.kill(child, number)

    signal.signal(signal.SIGTERM, hand_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: whoever is above us says what becomes of it
    die_with_parent(above)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_descendants()
    code = os.waitstatus_to_exitcode(status)
    if code != 0 and not asked:
        on_death(f"killed by signal {-code}" if code < 0 else f"exit status {code}")
    return code if code >= 0 else 128 - code


def _be_the_child(work: Callable[[], None], parent: int, blocked: set[int | signal.Signals]) -> None:
    """Does not return."""
    code = 1
    try:
        os.setsid()
        adopt_orphans()
        signal.signal(signal.SIGTERM, _end)
        die_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except Exception:
        traceback.print_exc()
    finally:
        end_descendants()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end(_number: int, _frame: object) -> None:
    """Until the work takes the signal itself."""
    raise SystemExit(128 + signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")

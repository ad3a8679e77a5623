# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress for people: steps with their time on standard error; everything else through ``logging``."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOG = logging.getLogger("switchover")
_DEPTH = threading.local()


def set_up_logging(*, verbose: bool) -> None:
    """Commands and details only with ``verbose``; warnings always."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.DEBUG if verbose else logging.WARNING)
    LOG.propagate = False
    quieten_libraries()


def quieten_libraries() -> None:
    """Their failures reach the user as our errors."""
    for noisy in ("paramiko", "qemu.qmp", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def say(text: str) -> None:
    """One line to the user."""
    print(f"{'  ' * _depth()}{text}", file=sys.stderr, flush=True)


def _depth() -> int:
    return getattr(_DEPTH, "steps", 0)


@contextmanager
def step(title: str) -> Iterator[None]:
    """A step with a title and, when it is over, the time it took; steps may nest."""
    say(f"{title} ...")
    _DEPTH.steps = _depth() + 1
    start = time.monotonic()
    try:
        yield
    except BaseException:
        _DEPTH.steps = _depth() - 1
        say(f"{title}: failed after {time.monotonic() - start:.1f} s")
        raise
    _DEPTH.steps = _depth() - 1
    say(f"{title}: {time.monotonic() - start:.1f} s")

# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin for pytest reads from arguments, and what the processes of a session tell each other."""

import re
import sys
import uuid
from datetime import UTC, datetime

import pytest

_ARGUMENT = re.compile(r"(?:\.\./)*switchover::?(?P<word>.*)")
_NAME = pytest.StashKey[str]()
USED = pytest.StashKey[str]()
"""Path of the run directory, once it is there."""
UNKEPT = pytest.StashKey[str]()
"""Why its numbers are not in the history, in a line; empty: they are, or are to be in none."""


def find_word(argument: str) -> str | None:
    """What an argument ``switchover:WORD``, or an id of a test, ``switchover::ID``, says; None: it is a path."""
    match = _ARGUMENT.fullmatch(argument)
    return match["word"] if match else None


def split_pair(word: str) -> tuple[str, str]:
    """:raises pytest.UsageError: it is no pair"""
    names = [name.strip() for name in word.split(",")]
    if len(names) > 2 or not all(names):
        raise pytest.UsageError(
            f"--switchover-pair {word} is not a pair of hosts: write SOURCE,DESTINATION, or one name for both"
        )
    return names[0], names[-1]


def name_run(config: pytest.Config) -> str:
    """Of the run directory, one for all processes of a session."""
    if hasattr(config, "workerinput"):
        return str(config.workerinput["switchover_run"])
    return config.stash.setdefault(_NAME, f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}-pytest-{uuid.uuid4().hex[:4]}")


def say_command(config: pytest.Config) -> str:
    """That started the session, also in a worker."""
    workerinput = getattr(config, "workerinput", {})
    return " ".join(workerinput.get("mainargv", sys.argv))


def note_used(config: pytest.Config, path: str) -> None:
    """That there is a run directory, for the summary; of a worker, for that of the process that started it."""
    config.stash[USED] = path
    if hasattr(config, "workeroutput"):
        config.workeroutput["switchover_used"] = path

# SPDX-License-Identifier: GPL-2.0-or-later
"""How the user called the program, so that a command in a message can be pasted."""

import os
import re
from collections.abc import Iterable

VARIABLE = "SWITCHOVER_COMMAND"
"""Set by the script ``switchover`` of a clone to the word it was called with."""


def command() -> str:
    """``./switchover`` from a clone, ``switchover`` where it is installed."""
    return os.environ.get(VARIABLE) or "switchover"


def as_called(text: str, verbs: Iterable[str]) -> str:
    """A message with its commands (``switchover VERB``) as this user has to type them."""
    words = "|".join(map(re.escape, verbs))
    return re.sub(rf"(?<![\w./-])switchover(?= (?:{words})\b)", lambda _: command(), text)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Several questions to a host in one command: under emulation a command costs more than what it asks."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from switchover.hosts.host import Host
from switchover.record.errors import CommandFailed


@dataclass(frozen=True)
class Answer:
    """What one question came to: the exit status of its script, and what it wrote to either of its streams."""

    status: int
    text: str

    @property
    def ok(self) -> bool:
        return self.status == 0


def ask_together(host: Host, questions: Mapping[str, str], *, timeout: float = 60) -> dict[str, Answer]:
    """Each question is a shell script, run in a shell of its own one after the other, whatever came of those before it.

    ``questions``: by names, in words of the caller without spaces.

    :raises CommandFailed: they could not be asked; :raises HostLost: the host does not answer
    """
    if not questions:
        return {}
    mark = f"=={secrets.token_hex(6)}=="
    text = host.run(["sh", "-c", render_questions(questions, mark)], timeout=timeout).stdout.decode(errors="replace")
    answers = parse_answers(text, mark)
    if missing := [name for name in questions if name not in answers]:
        raise CommandFailed(f"{host.name} did not answer: {', '.join(missing)}", why=text[-300:])
    return answers


def render_questions(questions: Mapping[str, str], mark: str) -> str:
    """One script for all; a line with the mark, its name and its exit status follows each. Pure."""
    blocks = (
        f"( {script}\n) 2>&1 </dev/null\nprintf '\\n{mark} {name} %s\\n' $?" for name, script in questions.items()
    )
    return "\n".join(blocks)


def parse_answers(text: str, mark: str) -> dict[str, Answer]:
    """The answers in the output of :func:`render_questions`. Pure.

    >>> parse_answers("a\\nb\\n\\n== boot 0\\n\\n== devices 1\\n", "==")
    {'boot': Answer(status=0, text='a\\nb\\n'), 'devices': Answer(status=1, text='')}
    """
    answers: dict[str, Answer] = {}
    lines: list[str] = []
    for line in text.split("\n"):  # and nowhere else: what is asked for may have carriage returns and form feeds
        words = line.split()
        if len(words) == 3 and words[0] == mark and words[2].isdigit():
            answers[words[1]] = Answer(int(words[2]), "\n".join(lines))
            lines = []
        else:
            lines.append(line)
    return answers

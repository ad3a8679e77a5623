# SPDX-License-Identifier: GPL-2.0-or-later
"""Several questions in one command: each has its own answer, whatever the others said."""

import shlex
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.scripted_host import ScriptedHost

from switchover.hosts.host import Completed, Host
from switchover.hosts.local import LocalHost
from switchover.hosts.questions import Answer, ask_together, parse_answers, render_questions
from switchover.record.errors import CommandFailed, HostLost

MARK = "==0123456789ab=="
NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True), max_size=5, unique=True)
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


def print_answers(answers: dict[str, Answer]) -> str:
    """What the shell prints for them."""
    return "".join(f"{answer.text}\n{MARK} {name} {answer.status}\n" for name, answer in answers.items())


@given(st.data(), NAMES)
def test_any_texts_come_back(data: st.DataObject, names: list[str]) -> None:
    """Each under its name, with its status, as it was: with empty lines, carriage returns, form feeds, words that look
    like a mark.
    """
    like_marks = st.sampled_from(["", "\n", "== x 0", f"x {MARK} y 0", f"{MARK} y", f"{MARK} y z", "a\r\nb\x0cc\u2028d"])
    texts = st.one_of(TEXTS, like_marks)
    answers = {name: Answer(data.draw(st.integers(0, 255)), data.draw(texts)) for name in names}
    assert parse_answers(print_answers(answers), MARK) == answers


@given(TEXTS)
def test_an_output_without_marks_answers_nothing(text: str) -> None:
    """Such as that of a shell that could not start."""
    assert parse_answers(text, MARK) == {}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(0, 255)), min_size=1, max_size=4))
@example([("a\n\n", 0), ("", 3), ("b\r\n", 0)])
def test_a_real_shell_answers(wanted: list[tuple[str, int]]) -> None:
    """What is printed and the status with which a script ends come back, over a shell of this machine."""
    questions = {f"q-{n}": f"printf %s {shlex.quote(text)}; exit {status}" for n, (text, status) in enumerate(wanted)}
    told = ask_together(LocalHost(), questions)
    assert list(told.values()) == [Answer(status, text) for text, status in wanted]


def test_questions_do_not_disturb_each_other() -> None:
    """Each has a shell of its own: its directory, variables, options, standard input and end are not the next one's."""
    questions = {
        "first": "cd /; x=1; set -e; false; echo not reached",
        "second": 'pwd; echo "[$x]"; false; echo reached # a comment',
        "reads": "cat; echo end of input",
        "complains": "echo aside >&2; echo said",
        "execs": "exec sh -c 'exit 7'",
        "missing": "no-such-program-here",
        "multi": "for word in a b\ndo echo $word\ndone",
        "last": "cat <<X\nin here\nX",
    }
    told = ask_together(LocalHost(), questions)
    assert list(told) == list(questions)
    assert told["first"] == Answer(1, "")
    assert told["second"].text.splitlines()[0] != "/"
    assert told["second"].text.splitlines()[1:] == ["[]", "reached"]
    assert told["reads"] == Answer(0, "end of input\n")
    assert told["complains"] == Answer(0, "aside\nsaid\n"), "both streams, in their order"
    assert told["execs"].status == 7
    assert (told["missing"].status, told["missing"].ok) == (127, False)
    assert told["multi"] == Answer(0, "a\nb\n")
    assert told["last"] == Answer(0, "in here\n")


def test_a_script_that_breaks_the_whole_is_told() -> None:
    """Of what the shell cannot read no answer is made up."""
    with pytest.raises(CommandFailed):
        ask_together(LocalHost(), {"good": "echo fine", "bad": "echo 'no end"})


def test_nothing_to_ask() -> None:
    """Costs no command."""
    host = ScriptedHost(lambda argv: "")
    assert ask_together(host, {}) == {}
    assert host.commands == []


def test_an_answer_that_is_missing_is_told() -> None:
    """A host that stops in between has answered nothing that counts; what is missing is named."""

    def answer(argv: Sequence[str]) -> str:
        mark = argv[-1].split("printf '\\n")[1].split()[0]
        return f"yes\n{mark} first 0\nand then"

    with pytest.raises(CommandFailed, match="second, third") as caught:
        ask_together(ScriptedHost(answer), {"first": "a", "second": "b", "third": "c"})
    assert "and then" in caught.value.why


def test_marks_are_not_told_before() -> None:
    """Each exchange has a mark of its own, which no file can have in it."""
    host = ScriptedHost(lambda argv: 1)
    for _ in range(2):
        with pytest.raises(CommandFailed):
            ask_together(host, {"one": "echo"})
    first, second = (command[-1] for command in host.commands)
    assert first != second


def test_a_host_that_is_lost_and_time() -> None:
    """Errors of the host pass, and it is given as long as the caller says."""
    given_s: list[float] = []

    class Lost:
        name = "lost"

        def run(self, argv: Sequence[str], *, timeout: float) -> Completed:
            given_s.append(timeout)
            raise HostLost("gone")

    with pytest.raises(HostLost):
        ask_together(cast(Host, Lost()), {"one": "echo"}, timeout=7)
    assert given_s == [7]


def test_one_script_for_all() -> None:
    """In the order in which they were asked."""
    script = render_questions({"a": "one", "b": "two"}, MARK)
    assert script.index("one") < script.index(f"{MARK} a") < script.index("two") < script.index(f"{MARK} b")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Mismatches: values first, sentences of them last; those of older records are found in their sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.mismatch import Mismatch, MismatchKind, find_in_sentence, parse_mismatch, render_mismatches

K = MismatchKind
SENTENCES = {
    "expected completed, was hung": Mismatch(K.VERDICT, "completed", "hung"),
    "expected failed by the source, was by the destination": Mismatch(K.SIDE, "source", "destination", "failed"),
    "expected crashed by the source, was by no side in particular": Mismatch(K.SIDE, "source", "", "crashed"),
    "expected a reason with 'x, was: y', was: z": Mismatch(K.REASON, "'x", "y', was: z"),
    "blocked as expected, and then not in order: device seed is kept": Mismatch(K.CHECKS, verdict="blocked"),
    "expected completed, was hung; differs alone: with a guest of its own it is as expected, completed": Mismatch(
        K.VERDICT, "completed", "hung"
    ),
}


@pytest.mark.parametrize("text", SENTENCES)
def test_a_sentence_of_an_older_record(text: str) -> None:
    """It has the kind, and what was expected and was instead, as far as the sentence tells them apart."""
    (found,) = find_in_sentence(text)
    expected = SENTENCES[text]
    assert (found.kind, found.verdict) == (expected.kind, expected.verdict)
    if found.kind is not K.REASON:
        assert found == expected


@pytest.mark.parametrize("text", ["", "the process of the case died", "not run: interrupted"])
def test_other_words_are_no_value(text: str) -> None:
    """What a case in Python, or a run, says in its own words."""
    assert find_in_sentence(text) == ()


def test_for_people() -> None:
    """All ways in one line, in their order; nothing for a case that is right."""
    assert render_mismatches(()) == ""
    found = (
        Mismatch(K.SIDE, "source", "", "crashed"),
        Mismatch(K.FAULT, members=("migration.faults, kill source in active", "device.fault, source")),
        Mismatch(K.DEATH, members=("source", "destination")),
    )
    assert render_mismatches(found) == (
        "expected crashed by the source, was by no side in particular; not shown to have been made: "
        "migration.faults, kill source in active; device.fault, source; "
        "the QEMU of the source and of the destination died, which was not expected"
    )


@given(st.sampled_from(MismatchKind), st.text(), st.lists(st.text(), max_size=3))
def test_each_comes_back_from_a_record(kind: MismatchKind, text: str, members: list[str]) -> None:
    """Lists are tuples again, and the kind is the enumeration's."""
    back = parse_mismatch({"kind": str(kind), "expected": text, "was": "", "members": members, "sentences": []})
    assert back == Mismatch(kind, text, members=tuple(members))
    assert back.kind is kind
    assert render_mismatches((back,))

# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of where rules were seen."""

from hypothesis import given
from hypothesis import strategies as st

from switchover.scenarios.oracle.seen import Sighting, add_seen, parse_seen, render_seen

SIGHTINGS = st.builds(
    Sighting,
    case=st.sampled_from(["a", "b.c"]),
    programs=st.sampled_from(["QEMU 10.0.13", "QEMU 10.0.13 to 11.1.3"]),
    day=st.dates().map(str),
)
FOUND = st.lists(st.tuples(st.sampled_from(["cancelled", "other-memory"]), SIGHTINGS), max_size=8)


@given(FOUND, FOUND)
def test_the_last_of_each_case_is_kept(first: list[tuple[str, Sighting]], second: list[tuple[str, Sighting]]) -> None:
    """One for each rule, case and programs, with the last day, however often and in whichever order it is noted; and
    what is written is read again.
    """
    seen = add_seen(add_seen({}, first), second)
    assert parse_seen(render_seen(seen)) == seen
    assert seen == add_seen({}, [*second, *first])
    for rule, one in [*first, *second]:
        (kept,) = (known for known in seen[rule] if (known.case, known.programs) == (one.case, one.programs))
        assert kept.day >= one.day
    assert add_seen(seen, [*first, *second]) == seen


def test_nothing_was_seen() -> None:
    """An empty file is one."""
    assert parse_seen(render_seen({})) == {}

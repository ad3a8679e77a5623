# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of the cases for machines that know nothing of each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.errors import UsageError
from switchover.runner.leases.shards import parse_shard, select_shard

IDS = st.lists(st.text(min_size=1), unique=True)


@given(ids=IDS, count=st.integers(1, 9))
def test_complete_and_disjoint(ids: list[str], count: int) -> None:
    """Each case is in one part and no other, and keeps its place in the order."""
    parts = [select_shard(ids, number, count) for number in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(ids)
    assert all(part == [name for name in ids if name in part] for part in parts)


@given(ids=IDS, others=IDS, count=st.integers(1, 9), number=st.integers(1, 9))
def test_cases_stay_where_they_are(ids: list[str], others: list[str], count: int, number: int) -> None:
    """Cases that are added, or another order, move none."""
    more = list(dict.fromkeys([*reversed(others), *ids]))
    part = select_shard(ids, number, count)
    assert [name for name in ids if name in set(select_shard(more, number, count))] == part


def test_the_same_everywhere() -> None:
    """The part of an id is no matter of the process or the version of Python."""
    assert ["".join(select_shard("abcdefgh", number, 3)) for number in (1, 2, 3)] == ["f", "ab", "cdegh"]


def test_parts_are_of_one_size() -> None:
    """About, of a thousand cases."""
    sizes = [len(select_shard([f"case-{number}" for number in range(1000)], part, 4)) for part in range(1, 5)]
    assert sum(sizes) == 1000
    assert all(200 < size < 300 for size in sizes)


@pytest.mark.parametrize("word", ["", "1", "0/3", "4/3", "-1/3", "1/0", "a/b", "1/3/5", "1 /3", "1/9999999"])
def test_no_part(word: str) -> None:
    """A part that there is not is the user's mistake, never an empty one."""
    with pytest.raises(UsageError, match="is not a part of the cases"):
        parse_shard(word)
    assert parse_shard("3/3") == (3, 3)

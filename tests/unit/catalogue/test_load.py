# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue: what is in it, and what a word or a tag means."""

import re
from pathlib import Path

import pytest
from tests.unit.scenarios.samples import HEAD

from switchover.catalogue.load import Catalogue, load_catalogue, load_file, with_parameters
from switchover.catalogue.places import list_places
from switchover.record.errors import UsageError

PYTHON = "from switchover import Context, Needs, case\n"


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """Two scenarios and a file of Python."""
    (tmp_path / "sizes.toml").write_text(HEAD + 'tags = ["memory"]\n[axes]\nvcpus = [1, 2]\nmachine = ["q35", "pc"]\n')
    (tmp_path / "other.toml").write_text(HEAD + '[guest]\ndriver = "libvirt"\n[axes]\nvcpus = [1, 2]\n')
    (tmp_path / "_helpers.py").write_text("raise SystemExit\n")
    (tmp_path / "some.py").write_text(
        PYTHON + '@case(tags=["chain", "memory"], hops=[1, 2])\ndef chain(context: Context, hops: int): ...\n'
    )
    return load_catalogue([tmp_path], only=True)


def ids(catalogue: Catalogue, *words: str, tags: tuple[str, ...] = ()) -> list[str]:
    return [case.id for case in catalogue.select(words, tags)]


def test_all_of_it(catalogue: Catalogue) -> None:
    """Scenarios, then Python; files that begin with ``_`` are none."""
    assert ids(catalogue) == [
        "other.vcpus-1",
        "other.vcpus-2",
        "sizes.vcpus-1.machine-q35",
        "sizes.vcpus-1.machine-pc",
        "sizes.vcpus-2.machine-q35",
        "sizes.vcpus-2.machine-pc",
        "chain.hops-1",
        "chain.hops-2",
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["chain.hops-2"], ["chain.hops-2"]),
        (["chain"], ["chain.hops-1", "chain.hops-2"]),
        (["*.vcpus-2*"], ["other.vcpus-2", "sizes.vcpus-2.machine-q35", "sizes.vcpus-2.machine-pc"]),
        (["chain.hops-2", "vcpus=1@other", "chain.hops-2"], ["other.vcpus-1", "chain.hops-2"]),
        (["vcpus=2,machine=pc"], ["sizes.vcpus-2.machine-pc"]),
    ],
)
def test_words(catalogue: Catalogue, words: list[str], found: list[str]) -> None:
    """Ids, names, patterns, and spellings that cases had before; each case once, in the order of the catalogue."""
    assert ids(catalogue, *words) == found


@pytest.mark.parametrize(
    ("tags", "count"),
    [
        (("memory",), 6),
        (("memory", "chain"), 2),
        (("memory", "-chain"), 4),
        (("libvirt",), 2),
        (("python",), 2),
        (("scenario", "qmp"), 4),
        (("-scenario",), 2),
    ],
)
def test_tags(catalogue: Catalogue, tags: tuple[str, ...], count: int) -> None:
    """All of them must be there, and those with ``-`` must not; some are of what a case needs."""
    assert len(ids(catalogue, tags=tags)) == count


@pytest.mark.parametrize(
    ("words", "tags", "told"),
    [
        (["chian"], (), "has no case 'chian'.\n  why: near it are chain"),
        (["zzzzzz"], (), "nothing in it is spelled like that"),
        (["chain.hops-3"], (), "near it are chain.hops-2, chain.hops-1"),
        (["*nothing*"], (), "has no case '*nothing*'"),
        ([], ("memry",), "has the tag 'memry'; did you mean 'memory'?"),
        ([], ("-memry",), "has the tag 'memry'"),
        (["other"], ("memory",), "No case is selected."),
        ([], ("chain", "libvirt"), "No case is selected."),
    ],
)
def test_what_means_nothing(catalogue: Catalogue, words: list[str], tags: tuple[str, ...], told: str) -> None:
    """A mistake, with what is like it; nothing that is selected is one too."""
    with pytest.raises(UsageError) as caught:
        catalogue.select(words, tags)
    assert told in str(caught.value)


def test_one_case(catalogue: Catalogue) -> None:
    """By its id or alias; a name of several is none."""
    assert catalogue.require("vcpus=1@other").id == "other.vcpus-1"
    with pytest.raises(UsageError, match="'chain' names 2 cases"):
        catalogue.require("chain")
    assert [case.id for case in catalogue.find("hops")] == ["chain.hops-1", "chain.hops-2"]
    with pytest.raises(UsageError, match="has no case 'hopps'"):
        catalogue.find("hopps")


def test_one_id_for_two_cases(tmp_path: Path, catalogue: Catalogue) -> None:
    """It is told where both are."""
    (tmp_path / "more.py").write_text(PYTHON + "@case(hops=[1, 3])\ndef chain(context: Context, hops: int): ...\n")
    with pytest.raises(UsageError, match="Two cases have the id") as caught:
        load_catalogue([tmp_path], only=True)
    assert "more.py:2 and " in str(caught.value)
    assert "some.py:2" in str(caught.value)


def test_all_that_is_wrong(tmp_path: Path, catalogue: Catalogue) -> None:
    """Every file that is wrong is told at once."""
    (tmp_path / "wrong.toml").write_text(HEAD + "[nothing]\n")
    (tmp_path / "wrong.py").write_text("import nowhere\n")
    with pytest.raises(UsageError) as caught:
        load_catalogue([tmp_path], only=True)
    assert "wrong.toml:4: nothing: unknown key" in str(caught.value)
    assert "wrong.py cannot be imported" in str(caught.value)


def test_places_that_are_none(tmp_path: Path) -> None:
    """A directory without cases, a file of another kind, one that is not there."""
    (tmp_path / "notes.txt").touch()
    for place, told in (
        (tmp_path, "holds no case"),
        (tmp_path / "notes.txt", "There is no file of cases"),
        (tmp_path / "none.toml", "There is no file of cases"),
    ):
        with pytest.raises(UsageError, match=told):
            load_catalogue([place], only=True)


def test_files_alone() -> None:
    """Those that are named and no others, also of the catalogue that ships with the project."""
    place = next(one for one in list_places() if one.name == "precopy.toml")
    assert {case.source for case in load_catalogue([place], only=True).cases} == {place}
    assert len(load_catalogue([place.parent], only=True).cases) > 100


def test_the_one_that_ships() -> None:
    """Its ids are fine for every front, no alias is another case's id, and each case says what it is about."""
    catalogue = load_catalogue()
    ids = {case.id for case in catalogue.cases}
    assert len(ids) == len(catalogue.cases)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", identity) for identity in ids)
    assert not [case.id for case in catalogue.cases for alias in case.aliases if alias in ids]
    assert not [case.id for case in catalogue.cases if not case.title or case.title == case.group]
    assert len({case.group for case in catalogue.cases if case.is_python}) >= 10


def test_parameters_from_outside(tmp_path: Path, catalogue: Catalogue) -> None:
    """Of a function and of a scenario's case; the id stays."""
    chain = with_parameters(catalogue.require("chain.hops-1"), {"hops": "5"})
    assert (chain.id, chain.parameters) == ("chain.hops-1", {"hops": 5})
    sizes = with_parameters(catalogue.require("sizes.vcpus-1.machine-pc"), {"vcpus": "4", "memory_mib": "96"})
    assert sizes.id == "sizes.vcpus-1.machine-pc"
    assert sizes.planned is not None
    assert sizes.planned.id == sizes.id
    guest = sizes.planned.case.source.guest
    assert (guest.vcpus, guest.memory_mib, guest.machine) == (4, 96, "pc")
    assert with_parameters(chain, {}) is chain


def test_needs(tmp_path: Path) -> None:
    """What a case needs is what its sides name."""
    path = tmp_path / "far.toml"
    path.write_text(HEAD + '[guest]\nkernel = "kernel-7.x"\nfirmware = "ovmf"\n[destination]\nqemu = "qemu-11.1"\n')
    (case,) = load_file(path)
    assert (case.needs.hosts, case.needs.driver, case.needs.qemu) == (2, "", ("qemu-11.1",))
    assert case.needs.kernel == ("kernel-7.x",)
    assert case.needs.programs == ("qemu-11.1", "kernel-7.x", "ovmf")
    assert len(case.needs.devices) == 1

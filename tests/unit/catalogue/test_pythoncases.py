# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases written in Python: which there are in a file, with which parameters, and under which ids."""

from pathlib import Path

import pytest

from switchover.catalogue.case import TIMEOUT_S, CatalogueCase, Needs
from switchover.catalogue.pythoncases import load_python_cases, read_parameter
from switchover.record.errors import UsageError

HEAD = "from switchover import Context, Needs, case\n"


def load(tmp_path: Path, text: str) -> list[CatalogueCase]:
    path = tmp_path / "some.py"
    path.write_text(HEAD + text)
    return load_python_cases(path)


def test_every_combination_of_axes(tmp_path: Path) -> None:
    """A case for each, in the order of the axes; an axis with one value is not in the id; defaults are parameters."""
    cases = load(
        tmp_path,
        '@case(hops=[1, 2], way=["there", "and back"], most=[0.5])\n'
        "def to_and_fro(context: Context, hops: int, way: str, most: float, also: bool = True):\n"
        '    """A guest goes to and fro.\n\n    And more.\n    """\n',
    )
    assert [case.id for case in cases] == [
        "to-and-fro.hops-1.way-there",
        "to-and-fro.hops-1.way-and-back",
        "to-and-fro.hops-2.way-there",
        "to-and-fro.hops-2.way-and-back",
    ]
    assert cases[1].parameters == {"hops": 1, "way": "and back", "most": 0.5, "also": True}
    assert {(case.group, case.title) for case in cases} == {("to-and-fro", "A guest goes to and fro.")}


def test_what_the_decorator_says(tmp_path: Path) -> None:
    """Tags, with that of all cases in Python; needs, times, and where it is written."""
    text = '@case(tags=["slow"], needs=Needs(hosts=0), timeout_s=5, seconds=2)\ndef one(context: Context): ...\n'
    (case,) = load(tmp_path, text)
    assert case.id == case.title == "one"
    assert (set(case.tags), case.needs) == ({"slow", "python"}, Needs(hosts=0))
    assert (case.timeout_s, case.seconds) == (5, 2)
    assert (case.place, case.source) == (f"{tmp_path / 'some.py'}:2", tmp_path / "some.py")
    (plain,) = load_python_cases(write(tmp_path / "plain.py", "@case()\ndef plain(context: Context): ...\n"))
    assert (set(plain.tags), plain.needs, plain.timeout_s) == ({"python"}, Needs(), TIMEOUT_S)


def write(path: Path, text: str) -> Path:
    path.write_text(HEAD + text)
    return path


def test_functions_that_are_no_cases(tmp_path: Path) -> None:
    """Helpers, and cases that a file imports from another one, are not its cases."""
    text = "from switchover_other import other\ndef helper(): ...\n@case()\ndef one(context: Context): ...\n"
    (tmp_path / "switchover_other.py").write_text(HEAD + "@case()\ndef other(context: Context): ...\n")
    path = write(tmp_path / "some.py", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        assert [case.id for case in load_python_cases(path)] == ["one"]


def test_values_that_are_spelled_alike(tmp_path: Path) -> None:
    """They get ids that differ."""
    ids = [
        case.id for case in load(tmp_path, '@case(word=["a/b", "a_b"])\ndef one(context: Context, word: str): ...\n')
    ]
    assert len(set(ids)) == 2
    assert all(identity.startswith("one.word-a_b-") for identity in ids)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@case()\ndef one(): ...\n", "one does not take the context"),
        ("@case(hops=[1])\ndef one(context: Context): ...\n", "no parameter for the axis 'hops'"),
        ("@case()\ndef one(context: Context, hops: int): ...\n", "the parameter 'hops' of one has neither"),
        ("@case(hops=[])\ndef one(context: Context, hops: int): ...\n", "the axis 'hops' of one has no value"),
        ("def one(context: Context): ...\n", "holds no case"),
        (
            "import no_such_module\n",
            "cannot be imported.\n  why: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def (:\n", "cannot be imported.\n  why: SyntaxError"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, told: str) -> None:
    """They are mistakes of the user, with the place; the next try reads the file again."""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert told in str(caught.value)
    assert "some.py" in str(caught.value)


def test_words_of_others(tmp_path: Path) -> None:
    """A parameter takes a word as its kind of value, or says why not."""
    text = "@case(hops=[1])\ndef one(context: Context, hops: int, most: float = 0.5, cold: bool = False): ...\n"
    (case,) = load(tmp_path, text)
    assert [read_parameter(case, *given) for given in (("hops", "7"), ("most", "1"), ("cold", "on"))] == [7, 1.0, True]
    for name, word, told in (
        ("hops", "many", "hops of one cannot be 'many'"),
        ("cold", "perhaps", "cold of one is on or off"),
        ("speed", "1", "has no parameter 'speed'.\n  why: it has: most, cold, hops"),
    ):
        with pytest.raises(UsageError) as caught:
            read_parameter(case, name, word)
        assert told in str(caught.value)

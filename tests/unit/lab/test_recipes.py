# SPDX-License-Identifier: GPL-2.0-or-later
"""Recipes: their digests change with whatever goes into an image, and with nothing else."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.lab import recipes
from switchover.lab.recipes import RECIPES, Recipe, compute_digest, is_compiled, order_recipes, parse_word_list
from switchover.record.paths import data_directory

BASE = Recipe("base", "what others need", sources=("base",), artifacts=("root",))
TOP = Recipe("top", "what is made of it", sources=("common", "top"), needs=("base",), artifacts=("disk",))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recipes; ``top`` needs ``base``."""
    monkeypatch.setattr(recipes, "RECIPES", {"base": BASE, "top": TOP})
    for name, text in (("base/packages", "gcc"), ("common/f", "x"), ("top/build", "make"), ("top/deep/rc", "run")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "images"


def rewrite(path: Path) -> None:
    path.write_text(path.read_text() + "#")


def swap_names(path: Path) -> None:
    path.rename(path.with_name("other"))


def make_executable(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o100)


@pytest.mark.parametrize("change", [rewrite, swap_names, make_executable, Path.unlink])
@pytest.mark.parametrize("name", ["common/f", "top/build", "top/deep/rc", "base/packages"])
def test_every_input_changes_the_digest(images: Path, name: str, change: object) -> None:
    """Contents, name, executable bit or absence of any file, own or of a needed image, give another digest."""
    assert callable(change)
    before = compute_digest("top", images)
    change(images / name)
    assert compute_digest("top", images) != before


def test_a_new_file_changes_the_digest(images: Path) -> None:
    """A file more is another image."""
    before = compute_digest("top", images)
    (images / "top" / "new").touch()
    assert compute_digest("top", images) != before


def test_a_needed_image_is_not_changed_by_what_needs_it(images: Path) -> None:
    """A change further up leaves what is below in the cache."""
    before = compute_digest("base", images)
    rewrite(images / "top" / "build")
    rewrite(images / "common" / "f")
    assert compute_digest("base", images) == before


@pytest.mark.parametrize("field", ["_FORMAT", "RELEASE"])
def test_the_builder_and_the_release_change_the_digest(
    images: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """Another builder or another release makes another image of the same files."""
    before = compute_digest("top", images)
    monkeypatch.setattr(recipes, field, "another")
    assert compute_digest("top", images) != before


def test_another_artifact_changes_the_digest(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image from which more is kept is another one."""
    before = compute_digest("top", images)
    monkeypatch.setattr(recipes, "RECIPES", {"base": BASE, "top": replace(TOP, artifacts=("disk", "kernel"))})
    assert compute_digest("top", images) != before


@pytest.mark.parametrize(
    "change",
    [{"release": "sid"}, {"backports": True}, {"unpacked": True}, {"source_package": "qemu"}, {"inputs_digest": "1"}],
)
def test_how_it_is_made_changes_the_digest(images: Path, change: dict[str, str | bool]) -> None:
    """Other packages, or other files of the user's, are another image."""
    assert compute_digest(replace(TOP, **change), images) != compute_digest(TOP, images)  # type: ignore[arg-type]


def test_the_digest_is_stable(images: Path, tmp_path: Path) -> None:
    """Another place, other times, other modes but the executable bit, a folder beside: the same digest."""
    before = compute_digest("top", images)
    (images / "unrelated").mkdir()
    (images / "unrelated" / "file").touch()
    for path in images.rglob("*"):
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(0o640)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(images, elsewhere)
    assert compute_digest("top", images) == before
    assert compute_digest("top", elsewhere) == before


def test_contents_do_not_run_into_each_other(images: Path) -> None:
    """The same bytes split differently over two files are another image."""
    (images / "top" / "a").write_text("one")
    (images / "top" / "b").write_text("two")
    before = compute_digest("top", images)
    (images / "top" / "a").write_text("onet")
    (images / "top" / "b").write_text("wo")
    assert compute_digest("top", images) != before


@pytest.mark.parametrize("name", list(RECIPES))
def test_order(name: str) -> None:
    """Everything comes after what it needs, each once, the named one last."""
    ordered = [recipe.name for recipe in order_recipes([name])]
    assert ordered[-1] == name
    assert len(set(ordered)) == len(ordered)
    for position, one in enumerate(ordered):
        assert set(RECIPES[one].needs) <= set(ordered[:position])


def test_order_of_several() -> None:
    """Images with needs in common are ordered together."""
    ordered = [recipe.name for recipe in order_recipes(["guest", "labhost", "guest"])]
    assert len(set(ordered)) == len(ordered)
    assert {"guest", "labhost", "buildroot"} <= set(ordered)


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_projects_own_recipes(name: str) -> None:
    """Every recipe names folders that exist, needs recipes that exist, and has what makes it: packages or a script."""
    recipe = RECIPES[name]
    images = data_directory("images")
    assert all((images / source).is_dir() for source in recipe.sources)
    assert set(recipe.needs) <= set(RECIPES)
    made_by = f"{name}/packages" if recipe.packages else recipe.script or f"{name}/build"
    assert (images / made_by).is_file()
    assert made_by.split("/")[0] in recipe.sources
    assert recipe.artifacts


@given(
    st.lists(st.from_regex(r"[a-z0-9.+-]{1,10}", fullmatch=True)), st.text(st.characters(exclude_categories=["C", "Z"]))
)
def test_word_lists(words: list[str], comment: str) -> None:
    """Words, one a line, with comments and blank lines between them, are read back."""
    lines = [f"{word}  # {comment}\n\n  # {word}" for word in words]
    assert parse_word_list("\n".join(lines)) == words


def test_what_is_compiled() -> None:
    """A QEMU or a kernel from source, and what is made of it; not what is made of packages, other QEMUs included."""
    compiled = [name for name in RECIPES if is_compiled(name)]
    assert compiled == [
        "qemu-x-allow-pre-copy",
        "kernel-6.12-root",
        "kernel-6.12-irq-locality-root",
        "kernel-6.12",
        "kernel-6.12-irq-locality",
    ]
    assert {name for name in RECIPES if RECIPES[name].estimate_s > 200} <= set(compiled)

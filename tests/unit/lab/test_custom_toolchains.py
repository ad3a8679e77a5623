# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs of the user's own: what they are made of is kept, and decides about their digest."""

from pathlib import Path

import pytest

from switchover.lab import images
from switchover.lab.custom_toolchains import find_own, keep_own, list_own, require_inputs
from switchover.lab.images import Image, clean_store, find_image, find_recipe, store_directory
from switchover.lab.recipes import RECIPES, compute_digest
from switchover.record.errors import NotReady, UsageError
from switchover.record.paths import data_directory


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, a patch, a source tree and a tree of binaries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "fix.patch").write_text("--- a\n+++ b\n")
    for name in (
        "source/configure",
        "source/hw/a.c",
        "linux/Kbuild",
        "prefix/bin/qemu-system-x86_64",
        "prefix/share/qemu/bios.bin",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def digest_of(name: str) -> str:
    return compute_digest(name, data_directory("images"), lambda needed: find_recipe(needed) or pytest.fail(needed))


def test_a_patch_of_debians_source(place: Path) -> None:
    """It is found by its name, is built where the project's own is, and sees a copy of the patch."""
    keep_own("qemu-mine", patches=[place / "fix.patch"])
    recipe = find_own("qemu-mine")
    assert recipe is not None
    assert recipe.is_toolchain
    assert (recipe.needs, recipe.root) == (("qemu-buildroot",), "qemu-buildroot")
    ((word, path),) = recipe.inputs
    assert word == "patches"
    assert [file.name for file in Path(path).iterdir()] == ["0001-fix.patch"]
    assert list_own() == [recipe]
    assert (data_directory("images") / recipe.script).is_file()


def test_patches_keep_their_order(place: Path) -> None:
    """Patches are applied in the order in which they were given, whatever they are called."""
    (place / "a.patch").write_text("x")
    keep_own("qemu-mine", patches=[place / "fix.patch", place / "a.patch"], source=place / "source")
    recipe = find_own("qemu-mine")
    assert recipe is not None
    inputs = dict(recipe.inputs)
    assert sorted(file.name for file in Path(inputs["patches"]).iterdir()) == ["0001-fix.patch", "0002-a.patch"]
    assert inputs["source"] == str(place / "source")


def test_a_kernel_with_a_patch(place: Path) -> None:
    """What is compiled is an image of its own, so that a change of the guest compiles nothing; both are found."""
    keep_own("kernel-mine", patches=[place / "fix.patch"])
    kernel, compiled = find_own("kernel-mine"), find_own("kernel-mine-root")
    assert kernel is not None
    assert compiled is not None
    assert kernel.is_kernel
    assert compiled.name in kernel.needs
    assert "guest" in kernel.sources
    assert "guest" not in compiled.sources
    assert [word for word, _ in compiled.inputs] == ["patches"]
    assert list_own() == [kernel, compiled]
    for recipe in (kernel, compiled):
        assert (data_directory("images") / recipe.script).is_file()


def test_a_kernels_digest_is_that_of_its_inputs(place: Path) -> None:
    """Another patch or another source is another kernel, also as far as the guest that is made with it is concerned."""
    keep_own("kernel-mine", patches=[place / "fix.patch"], source=place / "linux")
    digests = {digest_of("kernel-mine")}
    for changed in ("fix.patch", "linux/Kbuild"):
        (place / changed).write_text("another")
        keep_own("kernel-mine", patches=[place / "fix.patch"], source=place / "linux")
        digests.add(digest_of("kernel-mine"))
    assert len(digests) == 3


@pytest.mark.parametrize("changed", ["fix.patch", "source/hw/a.c", "source/configure"])
def test_its_digest_is_that_of_its_inputs(place: Path, changed: str) -> None:
    """The same inputs are in the cache; another patch or another file is another toolchain, once it is asked for."""

    def keep() -> str:
        keep_own("qemu-mine", patches=[place / "fix.patch"], source=place / "source")
        return digest_of("qemu-mine")

    before = keep()
    assert keep() == before
    (place / "source" / ".git").mkdir(exist_ok=True)
    (place / "source" / ".git" / "index").write_text("x")
    assert keep() == before
    (place / changed).write_text("another")
    assert digest_of("qemu-mine") == before
    assert keep() != before


def test_a_tree_of_binaries(place: Path) -> None:
    """Program and firmware count, and it gets this machine's libraries."""
    keep_own("qemu-tree", tree=place / "prefix")
    recipe = find_own("qemu-tree")
    assert recipe is not None
    assert dict(recipe.inputs) == {"tree": str(place / "prefix"), "machine": "/"}
    assert (data_directory("images") / recipe.script).is_file()
    for changed in ("bin/qemu-system-x86_64", "share/qemu/bios.bin"):
        before = digest_of("qemu-tree")
        (place / "prefix" / changed).write_text("another")
        keep_own("qemu-tree", tree=place / "prefix")
        assert digest_of("qemu-tree") != before


@pytest.mark.parametrize(
    "name",
    [
        "qemu-10.0",
        "qemu-11.1",
        "qemu-system-x86_64",
        "qemu-kvm",
        "mine",
        "qemu-",
        "qemu-a/b",
        "kernel-6.12",
        "kernel-mine-root",
        "kernel-",
    ],
)
def test_names(place: Path, name: str) -> None:
    """A name that something else has, or that is no file's, is rejected with one that will do."""
    with pytest.raises(UsageError, match="--name qemu-mine or kernel-mine"):
        keep_own(name, patches=[place / "fix.patch"])
    assert find_own(name) is None


@pytest.mark.parametrize(
    ("source", "tree", "why"),
    [
        ("prefix", None, "has no file configure"),
        (None, "source", "has no QEMU"),
        ("source", "prefix", "cannot be combined"),
    ],
)
def test_what_it_is_not_made_of(place: Path, source: str | None, tree: str | None, why: str) -> None:
    """A folder that is not what it is said to be is rejected before anything is kept."""
    with pytest.raises(UsageError, match=why):
        keep_own("qemu-mine", source=source and place / source, tree=tree and place / tree)  # type: ignore[arg-type]
    assert find_own("qemu-mine") is None


def test_what_a_kernel_is_not_made_of(place: Path) -> None:
    """Binaries of a kernel are none, nor is a source tree of something else."""
    with pytest.raises(UsageError, match="--tree cannot be used for a kernel"):
        keep_own("kernel-mine", tree=place / "prefix")
    with pytest.raises(UsageError, match="not a source tree of kernel: it has no file Kbuild"):
        keep_own("kernel-mine", source=place / "source")
    assert list_own() == []


def test_what_cannot_be_read_is_not_there(place: Path) -> None:
    """A damaged recipe counts as none."""
    keep_own("qemu-mine", patches=[place / "fix.patch"])
    (place / "cache" / "switchover" / "toolchains" / "qemu-mine" / "recipe.json").write_text("{}")
    assert find_own("qemu-mine") is None
    assert list_own() == []
    assert find_image("qemu-mine") is None


@pytest.mark.parametrize("how", ["gone", "changed"])
@pytest.mark.parametrize(("made_of", "file"), [("source", "source/hw/a.c"), ("tree", "prefix/bin/qemu-system-x86_64")])
def test_what_it_was_made_of_has_to_be_there(place: Path, how: str, made_of: str, file: str) -> None:
    """An image that has to be built again is the one that was asked for, or none."""
    folder = place / file.partition("/")[0]
    keep_own("qemu-mine", **{made_of: folder})  # type: ignore[arg-type]
    recipe = find_own("qemu-mine")
    assert recipe is not None
    require_inputs(recipe)
    if how == "gone":
        folder.rename(place / "elsewhere")
    else:
        (place / file).write_text("another")
    with pytest.raises(NotReady, match="cannot be built again") as caught:
        require_inputs(recipe)
    assert how in caught.value.why
    assert "--name qemu-mine" in caught.value.fix


def test_its_image_is_no_older_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleaning keeps what is asked for today, and removes what it was made of before."""
    keep_own("qemu-mine", patches=[place / "fix.patch"])
    today = store_directory() / f"qemu-mine-{digest_of('qemu-mine')}"
    older = store_directory() / "qemu-mine-0000000000000000"
    for directory in (today, older):
        directory.mkdir(parents=True)
        (directory / "manifest.json").write_text("{}")
    found = Image("qemu-mine", "0", today, 0, 0)
    monkeypatch.setattr(images, "find_image", lambda name: found if name == "qemu-mine" else None)
    clean_store(everything=False)
    assert today.exists()
    assert not older.exists()


def test_the_projects_come_first() -> None:
    """A recipe of the project is found without a look into the cache."""
    assert find_recipe("qemu-11.1") is RECIPES["qemu-11.1"]
    assert find_recipe("qemu-system-x86_64") is None

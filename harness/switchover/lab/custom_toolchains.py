# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs and kernels of the user's own, as recipes: a patch of Debian's source, a source tree, a tree of binaries.

What was asked for is kept in the cache directory under its name, patches included, so that a scenario can name it. Its
digest is that of what was there then: a tree that changed since is another toolchain once it is asked for again.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pydantic

from switchover.lab.recipes import (
    QEMU_BUILD_S,
    RECIPES,
    TOOLCHAIN,
    Recipe,
    compute_files_digest,
    make_kernel_recipe,
)
from switchover.record.errors import NotReady, UsageError
from switchover.record.paths import cache_directory

DEFAULT_NAMES = {"qemu": "qemu-mine", "kernel": "kernel-mine"}
"""What can be of one's own, with its name if it is given none."""
LABHOST_QEMU = "qemu-10.0"
"""Name under which a lab host has its own QEMU, that of its release (images/labhost/build)."""
_NAME = re.compile(r"(qemu|kernel)-(?!system|kvm)[a-z0-9][a-z0-9.+-]{0,40}")
_SOURCE_MARKS = {"qemu": "configure", "kernel": "Kbuild"}
_PROGRAMS = ("bin/qemu-system-x86_64", "qemu-system-x86_64", "usr/bin/qemu-system-x86_64")
_FIRMWARE = ("share/qemu", "pc-bios", "usr/share/qemu")
_QEMU_FROM_SOURCE = Recipe(
    "qemu",
    "",
    sources=("qemu", "qemu-from-source"),
    needs=("qemu-buildroot",),
    artifacts=TOOLCHAIN,
    estimate_s=QEMU_BUILD_S,
    root="qemu-buildroot",
    script="qemu-from-source/build",
    room_mib=RECIPES["qemu-x-allow-pre-copy"].room_mib,
)
_KEPT = pydantic.TypeAdapter(Recipe)


def find_own(name: str) -> Recipe | None:
    """The recipe kept under a name; None without, or if it is of a version of Switchover with other recipes."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return _KEPT.validate_json((_directory(name) / "recipe.json").read_text())
    except (OSError, pydantic.ValidationError):
        return None


def list_own() -> list[Recipe]:
    """All that are kept, by name."""
    names = sorted(path.parent.name for path in _directory("").glob("*/recipe.json"))
    return [recipe for name in names if (recipe := find_own(name)) is not None]


def keep_own(name: str, *, patches: Sequence[Path] = (), source: Path | None = None, tree: Path | None = None) -> None:
    """Keep a recipe under a name, in place of an older one; nothing is built.

    ``patches`` are applied in their order to ``source``, or to the source of Debian's package.

    :raises UsageError: the name will not do, or a file or folder is not what it has to be
    """
    kind = name.partition("-")[0]
    if not _NAME.fullmatch(name) or name in RECIPES or name == LABHOST_QEMU or name.endswith("-root"):
        why = "it must begin with qemu- or kernel-, and must not be a name that the project uses itself"
        names = " or ".join(DEFAULT_NAMES.values())
        raise UsageError(
            f"The name {name!r} cannot be used for a QEMU or kernel of your own.", why=why, fix=f"--name {names}"
        )
    if tree is not None and (patches or source is not None):
        raise UsageError(
            "--tree cannot be combined with --patch or --source.",
            why="--tree uses binaries that are built already",
            fix="leave out --tree, or --patch and --source",
        )
    if tree is not None and kind == "kernel":
        raise UsageError(
            "--tree cannot be used for a kernel.", why="kernels are built from source", fix="use --source or --patch"
        )
    for patch in patches:
        if not patch.is_file():
            raise UsageError(f"There is no patch {patch}.")
    if source is not None and not (source / _SOURCE_MARKS[kind]).is_file():
        raise UsageError(f"{source} is not a source tree of {kind}: it has no file {_SOURCE_MARKS[kind]}.")
    directory = _directory(name)
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "patches").mkdir(parents=True)
    for number, patch in enumerate(patches, start=1):
        shutil.copy(patch, directory / "patches" / f"{number:04}-{patch.stem}.patch")
    if tree is not None:
        _keep(_make_tree_recipe(name, tree))
    elif kind == "kernel":
        made = _make_source_recipe(f"{name}-root", directory / "patches", source, RECIPES["kernel-6.12-root"])
        _keep(made)
        _keep(make_kernel_recipe(name, made.purpose))
    else:
        _keep(_make_source_recipe(name, directory / "patches", source, _QEMU_FROM_SOURCE))


def _keep(recipe: Recipe) -> None:
    directory = _directory(recipe.name)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe)))


def require_inputs(recipe: Recipe) -> None:
    """Before a recipe is built whose image was removed, or never finished.

    :raises NotReady: what it is made of is gone, or is not what it was when it was asked for
    """
    inputs = {word: Path(path) for word, path in recipe.inputs}
    gone = [path for path in inputs.values() if not path.is_dir()]
    if not gone and (not inputs or _digest_inputs(inputs) == recipe.inputs_digest):
        return
    why = f"{gone[0]} is gone" if gone else f"{' and '.join(map(str, inputs.values()))} changed since it was asked for"
    name = recipe.name.removesuffix("-root")
    fix = f"switchover images build {name.partition('-')[0]} … --name {name}"
    raise NotReady(f"{recipe.name} cannot be built again.", why=why, fix=fix)


def _digest_inputs(inputs: Mapping[str, Path]) -> str:
    tree = inputs.get("tree")
    return compute_files_digest(inputs.values() if tree is None else _list_parts(tree))


def _list_parts(tree: Path) -> list[Path]:
    """What is used of a tree of binaries: the program first, then firmware. :raises UsageError: there is no program"""
    program = next((tree / place for place in _PROGRAMS if (tree / place).is_file()), None)
    if program is None:
        raise UsageError(f"{tree} has no QEMU.", why=f"looked for {', '.join(_PROGRAMS)}")
    return [program, *(tree / place for place in _FIRMWARE if (tree / place).is_dir())]


def _make_source_recipe(name: str, patches: Path, source: Path | None, pattern: Recipe) -> Recipe:
    """``pattern``: all but the name and what it is made from."""
    inputs = {"patches": patches} | ({"source": source.resolve()} if source else {})
    made_of = f"{source}" if source else "Debian's source"
    count = len(list(patches.iterdir()))
    return dataclasses.replace(
        pattern,
        name=name,
        purpose=f"your own, built from {made_of}" + (f" with {count} patch{'es' * (count > 1)}" if count else ""),
        inputs=tuple((word, str(path)) for word, path in inputs.items()),
        inputs_digest=_digest_inputs(inputs),
    )


def _make_tree_recipe(name: str, tree: Path) -> Recipe:
    """:raises UsageError: there is no QEMU in it"""
    # its libraries are those of this machine
    inputs = {"tree": tree.resolve(), "machine": Path("/")}
    return Recipe(
        name,
        f"your own, of the binary {_list_parts(tree)[0]}",
        sources=("qemu", "qemu-from-tree"),
        needs=("qemu-buildroot",),
        artifacts=TOOLCHAIN,
        root="qemu-buildroot",
        script="qemu-from-tree/build",
        inputs=tuple((word, str(path)) for word, path in inputs.items()),
        inputs_digest=_digest_inputs(inputs),
    )


def _directory(name: str) -> Path:
    return cache_directory() / "toolchains" / name

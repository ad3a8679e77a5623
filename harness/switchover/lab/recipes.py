# SPDX-License-Identifier: GPL-2.0-or-later
"""What each image is made of. Pure: a recipe and the files it names give the digest under which it is cached."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RELEASE = "trixie"
"""Debian release of lab hosts, guests and the build root they are made in."""

_FORMAT = "3"
"""Part of every digest: raise it when the builder itself makes something else of the same files."""

TOOLCHAIN = ("toolchain.ext4",)
"""Artifacts of a QEMU for lab hosts."""
QEMU_BUILD_S = 420
"""To build one from source, on two cores; seconds."""


@dataclass(frozen=True)
class Recipe:
    """One image.

    ``sources``: folders of ``images/`` it is made from. ``needs``: images it is made from.
    A recipe with ``packages`` is a tree of Debian packages; one without is what ``images/NAME/build`` (``script``)
    makes inside the image ``root``.
    """

    name: str
    purpose: str
    sources: tuple[str, ...]
    needs: tuple[str, ...] = ()
    packages: bool = False
    artifacts: tuple[str, ...] = ()
    estimate_s: int = 5
    release: str = ""
    """Debian's, of the packages, if it is not that of lab hosts."""
    backports: bool = False
    """Packages from the backports to that release, where they have them."""
    unpacked: bool = False
    """Packages are unpacked and not set up: enough to run a program of another release."""
    source_package: str = ""
    """A source package that is put into ``/usr/src`` of the tree."""
    root: str = "buildroot"
    script: str = ""
    """In ``images/``, if it is not ``NAME/build``."""
    inputs: tuple[tuple[str, str], ...] = ()
    """Folders of the user's that the script sees: name in ``/in``, path."""
    inputs_digest: str = ""

    @property
    def is_toolchain(self) -> bool:
        """Whether it is a QEMU for lab hosts, as a disk."""
        return self.artifacts == TOOLCHAIN


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "buildroot",
            "compiler, kernel and its headers: where all other images are made",
            sources=("buildroot",),
            packages=True,
            artifacts=("root",),
            estimate_s=70,
        ),
        Recipe(
            "labhost-root",
            "QEMU, libvirt and sshd of a lab host",
            sources=("labhost-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=60,
        ),
        Recipe(
            "modules",
            "kernel modules: the reference device and its driver in the guest",
            sources=("common", "modules"),
            needs=("buildroot",),
            artifacts=("refdev.ko", "refdev_guest.ko", "refdev_vfio_test"),
        ),
        Recipe(
            "guest",
            "kernel and initramfs of the guest",
            sources=("common", "guest"),
            needs=("buildroot", "modules"),
            artifacts=("vmlinuz", "initramfs.cpio"),
        ),
        Recipe(
            "labhost",
            "disk, kernel and initramfs of a lab host",
            sources=("common", "labhost"),
            needs=("buildroot", "labhost-root", "modules", "guest"),
            artifacts=("root.ext4", "vmlinuz", "initramfs.cpio"),
        ),
        Recipe(
            "qemu-7.2-root",
            "packages of QEMU 7.2",
            sources=("qemu-7.2-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=20,
            release="bookworm",
            unpacked=True,
        ),
        Recipe(
            "qemu-11.1-root",
            "packages of QEMU 11.1",
            sources=("qemu-11.1-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=20,
            backports=True,
            unpacked=True,
        ),
        Recipe(
            "qemu-buildroot",
            "what QEMU is built with, and Debian's source of it",
            sources=("qemu-buildroot",),
            packages=True,
            artifacts=("root",),
            estimate_s=80,
            source_package="qemu",
        ),
        Recipe(
            "qemu-7.2",
            "QEMU 7.2 of Debian 12, VFIO migration protocol 1",
            sources=("qemu", "qemu-from-packages", "qemu-7.2"),
            needs=("buildroot", "qemu-7.2-root"),
            artifacts=TOOLCHAIN,
            estimate_s=10,
        ),
        Recipe(
            "qemu-11.1",
            "QEMU 11.1 of Debian's backports",
            sources=("qemu", "qemu-from-packages", "qemu-11.1"),
            needs=("buildroot", "qemu-11.1-root"),
            artifacts=TOOLCHAIN,
            estimate_s=10,
        ),
        Recipe(
            "qemu-x-allow-pre-copy",
            "QEMU 10.0 with vfio-pci's property x-allow-pre-copy",
            sources=("qemu", "qemu-from-source", "qemu-x-allow-pre-copy"),
            needs=("qemu-buildroot",),
            artifacts=TOOLCHAIN,
            estimate_s=QEMU_BUILD_S,
            root="qemu-buildroot",
        ),
        Recipe(
            "userdisk-root",
            "Debian with its own kernel, boot loader, systemd and sshd",
            sources=("userdisk-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=60,
        ),
        Recipe(
            "userdisk",
            "disk and key of a guest as a user brings it",
            sources=("common", "userdisk"),
            needs=("buildroot", "userdisk-root"),
            artifacts=("disk.raw", "id_ed25519", "ssh_host_ed25519_key.pub"),
            estimate_s=20,
        ),
    )
}


def order_recipes(wanted: Iterable[str | Recipe]) -> list[Recipe]:
    """The recipes, named or not in the list, and all they need, each after what it needs."""
    ordered: dict[str, Recipe] = {}

    def visit(recipe: Recipe) -> None:
        for needed in recipe.needs:
            visit(RECIPES[needed])
        ordered.setdefault(recipe.name, recipe)

    for one in wanted:
        visit(one if isinstance(one, Recipe) else RECIPES[one])
    return list(ordered.values())


def compute_digest(wanted: str | Recipe, images: Path) -> str:
    """Digest of a recipe: its release, every file of its sources (path, mode, contents) and the digests it needs."""
    recipe = wanted if isinstance(wanted, Recipe) else RECIPES[wanted]
    state = hashlib.sha256(f"{_FORMAT} {recipe.name} {recipe.release or RELEASE} {recipe.artifacts}".encode())
    for source in recipe.sources:
        _add_files(state, images / source, images)
    made = (recipe.backports, recipe.unpacked, recipe.source_package, recipe.script, recipe.inputs_digest)
    if any(made):
        state.update(repr(made).encode())
    for needed in recipe.needs:
        state.update(compute_digest(needed, images).encode())
    return state.hexdigest()[:16]


def compute_files_digest(paths: Iterable[Path]) -> str:
    """Digest of files and folders (path in it, mode, contents) that are no part of the project; not of a ``.git``."""
    state = hashlib.sha256()
    for path in paths:
        if path.is_dir():
            _add_files(state, path, path)
        else:
            state.update(b"\0\0" + path.read_bytes())
    return state.hexdigest()[:16]


def _add_files(state: "hashlib._Hash", directory: Path, base: Path) -> None:
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        if ".git" in path.relative_to(base).parts[:1]:
            continue
        mode = path.stat().st_mode & 0o100
        state.update(f"\0{path.relative_to(base)}\0{mode}\0".encode())
        state.update(path.read_bytes())


def parse_word_list(text: str) -> list[str]:
    """Words of a file with one a line and ``#`` comments: packages, modules.

    >>> parse_word_list("# packages\\nmake  # builds\\n\\ngcc")
    ['make', 'gcc']
    """
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]

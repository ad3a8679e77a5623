# SPDX-License-Identifier: GPL-2.0-or-later
"""What each image is made of. Pure: a recipe and the files it names give the digest under which it is cached."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

RELEASE = "trixie"
"""Debian release of lab hosts, guests and the build root they are made in."""

_FORMAT = "3"
"""Part of every digest: raise it when the builder itself makes something else of the same files."""


@dataclass(frozen=True)
class Recipe:
    """One image.

    ``sources``: folders of ``images/`` it is made from. ``needs``: images it is made from.
    A recipe with ``packages`` is a tree of Debian packages; one without is what ``images/NAME/build`` makes
    inside the build root.
    """

    name: str
    purpose: str
    sources: tuple[str, ...]
    needs: tuple[str, ...] = ()
    packages: bool = False
    artifacts: tuple[str, ...] = ()
    estimate_s: int = 5


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


def order_recipes(names: list[str]) -> list[Recipe]:
    """The named recipes and all they need, each after what it needs."""
    ordered: dict[str, Recipe] = {}

    def visit(name: str) -> None:
        for needed in RECIPES[name].needs:
            visit(needed)
        ordered.setdefault(name, RECIPES[name])

    for name in names:
        visit(name)
    return list(ordered.values())


def compute_digest(name: str, images: Path) -> str:
    """Digest of a recipe: its release, every file of its sources (path, mode, contents) and the digests it needs."""
    recipe = RECIPES[name]
    state = hashlib.sha256(f"{_FORMAT} {name} {RELEASE} {recipe.artifacts}".encode())
    for source in recipe.sources:
        for path in sorted(path for path in (images / source).rglob("*") if path.is_file()):
            mode = path.stat().st_mode & 0o100
            state.update(f"\0{path.relative_to(images)}\0{mode}\0".encode())
            state.update(path.read_bytes())
    for needed in recipe.needs:
        state.update(compute_digest(needed, images).encode())
    return state.hexdigest()[:16]


def parse_word_list(text: str) -> list[str]:
    """Words of a file with one a line and ``#`` comments: packages, modules.

    >>> parse_word_list("# packages\\nmake  # builds\\n\\ngcc")
    ['make', 'gcc']
    """
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]

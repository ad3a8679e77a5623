# SPDX-License-Identifier: GPL-2.0-or-later
"""What each image is made of. Pure: a recipe and the files it names give the digest under which it is cached."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

RELEASE = "trixie"
"""Debian release of lab hosts, guests and the build root they are made in."""

_FORMAT = "3"
"""Part of every digest: raise it when the builder itself makes something else of the same files."""

LAB_IMAGES = ("labhost", "labhost-qemu")
"""What a lab is started from."""
TOOLCHAIN = ("toolchain.ext4",)
"""Artifacts of a QEMU for lab hosts."""
QEMU_BUILD_S = 420
"""To build one from source, on two cores; seconds."""
KERNEL = ("vmlinuz", "initramfs.cpio", *TOOLCHAIN)
"""Artifacts of a guest's kernel, with what it boots into; the disk has both."""
FIRMWARE = ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", *TOOLCHAIN)
"""Artifacts of a firmware for guests; the disk has both files."""
MTTY = ("mtty.ko", *TOOLCHAIN)
"""Artifacts of the kernel's sample of a device that migrates; the disk has the module."""
KERNEL_BUILD_S = 600
"""To build one from source, on two cores; seconds."""

FROM_SOURCE = ("qemu-from-source", "kernel-from-source")
"""Folders of ``images/`` whose scripts compile one."""


@dataclass(frozen=True)
class Recipe:
    """One image.

    ``sources``: folders of ``images/`` it is made from. ``needs``: images it is made from.
    A recipe with ``packages`` is a tree of the Debian packages that its sources list; one without is what
    ``images/NAME/build`` (``script``) makes inside the image ``root``.
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
    room_mib: int = 100
    """What it takes on the disk of the store while it is made, about; MiB, without what it needs. Of a tree of packages
    less than half stays."""

    @property
    def is_toolchain(self) -> bool:
        """Whether it comes as a disk for lab hosts: a QEMU, a guest's kernel or firmware, or a module of its own."""
        return self.artifacts in (TOOLCHAIN, KERNEL, FIRMWARE) or self.is_module

    @property
    def is_module(self) -> bool:
        """Whether it is a kernel module for lab hosts."""
        return self.artifacts == MTTY

    @property
    def is_firmware(self) -> bool:
        return self.artifacts == FIRMWARE

    @property
    def is_kernel(self) -> bool:
        """Whether it is a guest's kernel."""
        return self.artifacts == KERNEL


def make_kernel_recipe(name: str, purpose: str, *, root: str = "") -> Recipe:
    """A guest's kernel, made of the image ``NAME-root``. ``root``: that one, if it is a build root of its own."""
    return Recipe(
        name,
        purpose,
        sources=("common", "guest", "kernel-guest", "modules"),
        needs=tuple(dict.fromkeys([root or "buildroot", f"{name}-root"])),
        artifacts=KERNEL,
        estimate_s=10,
        root=root or "buildroot",
        script="kernel-guest/build",
    )


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "buildroot",
            "compiler, kernel and its headers: where all other images are made",
            sources=("buildroot", "headers"),
            packages=True,
            artifacts=("root",),
            estimate_s=70,
            room_mib=1100,
        ),
        Recipe(
            "labhost-root",
            "QEMU, libvirt and sshd of a lab host",
            sources=("labhost-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=60,
            room_mib=700,
        ),
        Recipe(
            "modules",
            "kernel modules of a lab host: the reference device",
            sources=("common", "modules"),
            needs=("buildroot",),
            artifacts=("refdev.ko", "refdev_vfio_test"),
            room_mib=10,
        ),
        Recipe(
            "guest",
            "kernel and initramfs of the guest, with the reference device's driver",
            sources=("common", "guest", "modules"),
            needs=("buildroot",),
            artifacts=("vmlinuz", "initramfs.cpio"),
            room_mib=60,
        ),
        Recipe(
            "labhost",
            "disk, kernel and initramfs of a lab host",
            sources=("common", "labhost"),
            needs=("buildroot", "labhost-root", "modules", "guest"),
            artifacts=("root.ext4", "vmlinuz", "initramfs.cpio"),
            room_mib=700,
        ),
        Recipe(
            "labhost-qemu",
            "QEMU that lab hosts run in",
            sources=("qemu", "qemu-from-packages", "labhost-qemu"),
            needs=("buildroot", "labhost-root"),
            artifacts=("root",),
            estimate_s=15,
            room_mib=100,
        ),
        Recipe(
            "bare-root",
            "Debian with sshd and Python, without QEMU and libvirt",
            sources=("bare-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=40,
            room_mib=500,
        ),
        Recipe(
            "bare",
            "disk of a bare machine, which ansible/ turns into a host",
            sources=("common", "bare"),
            needs=("buildroot", "bare-root"),
            artifacts=("disk.raw",),
            estimate_s=15,
            room_mib=500,
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
            room_mib=350,
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
            room_mib=350,
        ),
        Recipe(
            "qemu-buildroot",
            "what QEMU is built with, and Debian's source of it",
            sources=("qemu-buildroot",),
            packages=True,
            artifacts=("root",),
            estimate_s=80,
            source_package="qemu",
            room_mib=1100,
        ),
        Recipe(
            "qemu-7.2",
            "QEMU 7.2 of Debian 12, VFIO migration protocol 1",
            sources=("qemu", "qemu-from-packages", "qemu-7.2"),
            needs=("buildroot", "qemu-7.2-root"),
            artifacts=TOOLCHAIN,
            estimate_s=10,
            room_mib=200,
        ),
        Recipe(
            "qemu-11.1",
            "QEMU 11.1 of Debian's backports",
            sources=("qemu", "qemu-from-packages", "qemu-11.1"),
            needs=("buildroot", "qemu-11.1-root"),
            artifacts=TOOLCHAIN,
            estimate_s=10,
            room_mib=200,
        ),
        Recipe(
            "qemu-x-allow-pre-copy",
            "QEMU 10.0 with vfio-pci's property x-allow-pre-copy",
            sources=("qemu", "qemu-from-source", "qemu-x-allow-pre-copy"),
            needs=("qemu-buildroot",),
            artifacts=TOOLCHAIN,
            estimate_s=QEMU_BUILD_S,
            root="qemu-buildroot",
            room_mib=2000,
        ),
        Recipe(
            "ovmf-root",
            "package of OVMF, the UEFI firmware",
            sources=("ovmf-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=20,
            unpacked=True,
            room_mib=100,
        ),
        Recipe(
            "ovmf",
            "OVMF, UEFI firmware for guests",
            sources=("ovmf",),
            needs=("buildroot", "ovmf-root"),
            artifacts=FIRMWARE,
            estimate_s=5,
            room_mib=20,
        ),
        Recipe(
            "mtty",
            "the kernel's sample mtty, a device that is not ours",
            sources=("common", "mtty"),
            needs=("buildroot", "kernel-buildroot"),
            artifacts=MTTY,
            estimate_s=30,
            room_mib=20,
        ),
        Recipe(
            "userdisk-root",
            "Debian with its own kernel, boot loader, systemd and sshd",
            sources=("userdisk-root",),
            packages=True,
            artifacts=("root.tar",),
            estimate_s=60,
            room_mib=500,
        ),
        Recipe(
            "userdisk",
            "disk and key of a guest as a user brings it",
            sources=("common", "userdisk"),
            needs=("buildroot", "userdisk-root"),
            artifacts=("disk.raw", "id_ed25519", "ssh_host_ed25519_key.pub"),
            estimate_s=20,
            room_mib=250,
        ),
        Recipe(
            "kernel-6.12-rt-root",
            "a build root with Debian's kernel 6.12 with PREEMPT_RT",
            sources=("buildroot", "kernel-6.12-rt-root"),
            packages=True,
            artifacts=("root",),
            estimate_s=70,
            room_mib=1100,
        ),
        Recipe(
            "kernel-7.x-root",
            "a build root with the kernel of Debian's backports",
            sources=("buildroot", "kernel-7.x-root"),
            packages=True,
            artifacts=("root",),
            estimate_s=70,
            backports=True,
            room_mib=1100,
        ),
        Recipe(
            "kernel-buildroot",
            "what kernels are built with, and Debian's source of 6.12",
            sources=("buildroot", "kernel-buildroot"),
            packages=True,
            artifacts=("root",),
            estimate_s=60,
            room_mib=1500,
        ),
        Recipe(
            "kernel-6.12-root",
            "Debian's kernel 6.12, built for guests",
            sources=("kernel-from-source",),
            needs=("kernel-buildroot",),
            artifacts=("root",),
            estimate_s=KERNEL_BUILD_S,
            root="kernel-buildroot",
            script="kernel-from-source/build",
            room_mib=3000,
        ),
        Recipe(
            "kernel-6.12-irq-locality-root",
            "the same with IRQ threads woken where their interrupt arrives",
            sources=("kernel-from-source", "kernel-6.12-irq-locality-root"),
            needs=("kernel-buildroot",),
            artifacts=("root",),
            estimate_s=KERNEL_BUILD_S,
            root="kernel-buildroot",
            room_mib=3000,
        ),
        make_kernel_recipe(
            "kernel-6.12-rt", "guest with Debian's kernel 6.12 with PREEMPT_RT", root="kernel-6.12-rt-root"
        ),
        make_kernel_recipe("kernel-7.x", "guest with the kernel of Debian's backports", root="kernel-7.x-root"),
        make_kernel_recipe("kernel-6.12", "guest with Debian's kernel 6.12, built for guests"),
        make_kernel_recipe("kernel-6.12-irq-locality", "guest with the same and IRQ threads woken in place"),
    )
}


def require_recipe(name: str) -> Recipe:
    """One of the project's. :raises KeyError: there is none"""
    return RECIPES[name]


def order_recipes(wanted: Iterable[str | Recipe], require: Callable[[str], Recipe] = require_recipe) -> list[Recipe]:
    """The recipes, named or not in the list, and all they need, each after what it needs.

    ``require``: where those are looked for that are named.
    """
    ordered: dict[str, Recipe] = {}

    def visit(recipe: Recipe) -> None:
        for needed in recipe.needs:
            visit(require(needed))
        ordered.setdefault(recipe.name, recipe)

    for one in wanted:
        visit(one if isinstance(one, Recipe) else require(one))
    return list(ordered.values())


def is_compiled(name: str) -> bool:
    """Whether one of the project's images takes the build of a QEMU or a kernel from source: many minutes."""
    return any(source in FROM_SOURCE for recipe in order_recipes([name]) for source in recipe.sources)


def compute_digest(wanted: str | Recipe, images: Path, require: Callable[[str], Recipe] = require_recipe) -> str:
    """Digest of a recipe: its release, every file of its sources (path, mode, contents) and the digests it needs."""
    recipe = wanted if isinstance(wanted, Recipe) else require(wanted)
    state = hashlib.sha256(f"{_FORMAT} {recipe.name} {recipe.release or RELEASE} {recipe.artifacts}".encode())
    for source in recipe.sources:
        _add_files(state, images / source, images)
    made = (recipe.backports, recipe.unpacked, recipe.source_package, recipe.script, recipe.inputs_digest)
    if any(made):
        state.update(repr(made).encode())
    for needed in recipe.needs:
        state.update(compute_digest(needed, images, require).encode())
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

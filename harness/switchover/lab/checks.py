# SPDX-License-Identifier: GPL-2.0-or-later
"""What the controller needs for a lab, checked: programs, memory, disk, mirror, images, leftovers."""

import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil

from switchover.hosts import processes
from switchover.hosts.checks import Check, Finding, failed, passed, unverifiable
from switchover.hosts.packages import explain_install, list_wanted, read_distribution
from switchover.lab.accelerator import find_accelerator
from switchover.lab.images import (
    NEEDED_BYTES,
    find_damage,
    find_image,
    list_recipes,
    namespace_command,
    store_directory,
    stored_directories,
)
from switchover.lab.labfile import find_labs, lab_processes, read_lab_file
from switchover.lab.labhost import MEMORY_MIB, MOST_HOSTS, own_qemu
from switchover.lab.mirror import Mirror, read_mirror, require_keyring
from switchover.lab.recipes import LAB_IMAGES, RECIPES, RELEASE, compute_digest, order_recipes
from switchover.lab.release import find_dead_labs, undo_dead_journals
from switchover.lab.snapshot_store import list_stored
from switchover.record.errors import CommandFailed
from switchover.record.paths import cache_directory, data_directory, state_directory
from switchover.record.units import MIB, format_bytes

EVERYTHING = ("demo", "lab", "test")
PYTHON = (3, 11)
_ALL = "run test --all"
_HELPER = "/usr/lib/apt/apt-helper"
_APT_HELPER = Path(_HELPER)
_KERNEL = Path("/proc/sys/kernel")
_SETTINGS = (("unprivileged_userns_clone", 1), ("apparmor_restrict_unprivileged_userns", 0))
_STATE_BYTES = 1 << 30
_TOKEN = re.compile(r"switchover-lab-[0-9a-f]{12}-")


def controller_checks() -> list[Check]:
    """All of the controller. What only building images needs blocks nothing once they are built."""
    building = () if all(find_image(recipe.name) for recipe in order_recipes(LAB_IMAGES)) else EVERYTHING
    unbuilt = [name for name in RECIPES if find_image(name) is None and not _find_place(name).exists()]
    return [
        Check("Python", EVERYTHING, check_python),
        Check("distribution", (), check_distribution),
        Check("recipes and cases", EVERYTHING, check_data),
        check_of("mmdebstrap", building),
        check_of("ssh", ("lab",)),
        *(check_of(name, ("test",)) for name in ("pgrep", *list_wanted("test"))),
        *(check_of(name, (), _ALL) for name in list_wanted("all")),
        *(check_of(name, EVERYTHING) for name in ("unshare", "setpriv")),
        *(check_of(name, building) for name in user_programs()),
        Check("accelerator", (), check_accelerator),
        Check("memory", EVERYTHING, check_memory),
        Check("disk of the cache", building, partial(check_disk, store_directory, NEEDED_BYTES, "XDG_CACHE_HOME")),
        Check("disk of runs", EVERYTHING, partial(check_disk, state_directory, _STATE_BYTES, "XDG_STATE_HOME")),
        Check("cache directory", EVERYTHING, partial(check_writable, cache_directory, "XDG_CACHE_HOME")),
        Check("state directory", EVERYTHING, partial(check_writable, state_directory, "XDG_STATE_HOME")),
        Check("namespaces", building, check_namespaces),
        Check("keys of Debian's archive", building, check_keyring),
        Check("Debian mirror", building, check_mirror),
        *(Check(f"image {name}", EVERYTHING, partial(check_image, name)) for name in RECIPES if name not in unbuilt),
        *([Check("images not built yet", (), partial(describe_unbuilt, unbuilt))] if unbuilt else []),
        Check("older images", (), check_older_images),
        Check("labs", (), check_labs),
        Check("lab hosts without a lab", (), check_strays),
        Check("runs that were killed", (), check_dead_runs),
        Check("packages of the tests", ("test",), check_test_packages),
    ]


def check_of(program: str, blocks: tuple[str, ...], needed_to: str = "run a lab") -> Check:
    return Check(f"program {program}", blocks, partial(check_program, program, needed_to))


def user_programs() -> list[str]:
    """What a user without root needs besides."""
    return [] if os.geteuid() == 0 else list_wanted("user")


def check_python(version: Sequence[int] = tuple(sys.version_info[:3])) -> Finding:
    seen = "Python " + ".".join(map(str, version))
    if tuple(version[:2]) >= PYTHON:
        return passed(seen)
    return failed(seen, "SWITCHOVER_PYTHON=python3.11 ./switchover doctor (3.11 or newer is needed)")


def check_distribution() -> Finding:
    """Whose names of packages are given, and whether anybody tried it."""
    distribution = read_distribution()
    if distribution.id == "debian":
        return passed(distribution.title)
    if not distribution.family:
        return unverifiable(
            f"{distribution.title}: names of its packages are not known here, and nobody tried it",
            "SWITCHOVER_NO_APT=1 lets ./switchover start; or a container or VM with Debian",
        )
    if distribution.family == "fedora":
        return unverifiable(f"{distribution.title}: nobody tried it; images are made of Debian packages, by apt")
    return unverifiable(
        f"{distribution.title}: nobody tried it; images are made of Debian packages, not of its own",
        "" if os.environ.get("SWITCHOVER_MIRROR") else "SWITCHOVER_MIRROR=ADDRESS of a Debian mirror",
    )


def check_data() -> Finding:
    """What the package has beside its code: recipes of images, and the catalogue."""
    lacking = [name for name in ("images", "testcases") if not data_directory(name).is_dir()]
    if lacking:
        return failed(
            f"{data_directory(lacking[0])} is not there", "install switchover again, or start it from a clone"
        )
    return passed(str(data_directory("images").parent))


def check_program(name: str, needed_to: str = "run a lab") -> Finding:
    return passed(processes.require_program(name, needed_to=needed_to))


def check_accelerator() -> Finding:
    """Both outcomes will do: under TCG a lab is slower."""
    labhost, qemu = find_image("labhost"), find_image("labhost-qemu")
    if labhost is None or qemu is None:
        return unverifiable("a lab host's kernel and QEMU are needed to try /dev/kvm", "switchover images build")
    accelerator = find_accelerator(labhost, own_qemu(qemu))
    return passed(f"{accelerator.accel.partition(',')[0]}: {accelerator.reason}")


def check_memory(available: int | None = None, labs: int | None = None) -> Finding:
    """Two lab hosts, and what there is room for. ``labs``: labs that are up, whose memory is gone already."""
    free = psutil.virtual_memory().available if available is None else available
    needed = 2 * MEMORY_MIB * MIB
    up = len(find_labs()) if labs is None else labs
    room = min(MOST_HOSTS, free // (MEMORY_MIB * MIB))
    seen = f"{format_bytes(free)} available; two lab hosts take {format_bytes(needed)}"
    seen += f", there is room for {room} of {MOST_HOSTS}" if free >= needed else ""
    if free >= needed:
        return passed(seen)
    if up:
        return unverifiable(f"{seen}; labs that are there now: {up}", "switchover lab down --all")
    return failed(seen, "end other programs; or a lab of one host: switchover lab up --hosts 1")


def check_disk(directory: Callable[[], Path], needed: int, variable: str) -> Finding:
    existing = _existing(directory())
    free = shutil.disk_usage(existing).free
    seen = f"{format_bytes(free)} free on the disk of {existing}; {format_bytes(needed)} may be needed"
    return passed(seen) if free >= needed else failed(seen, f"free some space, or {variable}=/another/disk")


def check_writable(directory: Callable[[], Path], variable: str) -> Finding:
    existing = _existing(directory())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return passed(f"{directory()} can be written")
    except OSError as error:
        return failed(f"{existing}: {error.strerror}", f"chown -R $USER {existing}; or {variable}=/another/place")


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def check_namespaces() -> Finding:
    """Images are made in namespaces of their own: by root, or in a user namespace."""
    who = "root" if os.geteuid() == 0 else "a user"
    try:
        processes.run([*namespace_command(), "true"], timeout=30)
    except CommandFailed as error:
        fix = "run it where root may mount (not in an unprivileged container)"
        if os.geteuid() != 0:
            fix = (
                f"{explain_sysctl()}{explain_install('newuidmap')}; "
                "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
            )
        return failed(f"{who} gets no namespaces: {error.why or error.what}", fix)
    return passed(f"{who} gets namespaces for mounts and processes")


def explain_sysctl() -> str:
    """Settings by which Debian's and Ubuntu's kernels may refuse namespaces to users, those that this kernel has."""
    settings = [f"kernel.{name}={value}" for name, value in _SETTINGS if (_KERNEL / name).exists()]
    return f"sysctl -w {' '.join(settings)}; " if settings else ""


def check_keyring() -> Finding:
    return passed(str(require_keyring()))


def check_mirror() -> Finding:
    """Configured, and reached the way apt reaches it."""
    mirror = read_mirror()
    if not _APT_HELPER.exists():
        return unverifiable(f"{mirror.archive}; there is no apt here to reach it with", explain_install(_HELPER))
    return check_reachable(mirror)


def check_reachable(mirror: Mirror) -> Finding:
    url = f"{mirror.archive.rstrip('/')}/dists/{RELEASE}/InRelease"
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "InRelease"
        argv = [str(_APT_HELPER), "-o", "Acquire::Retries=0", "download-file", url, str(target)]
        try:
            processes.run(argv, timeout=40)
        except CommandFailed as error:
            return failed(
                f"{url} cannot be had: {error.why or error.what}",
                "see that apt-get update works; or SWITCHOVER_MIRROR=ADDRESS of another mirror",
            )
        release = re.search(r"^Suite: (.*)$|^Codename: (.*)$", target.read_text(errors="replace"), re.MULTILINE)
        return passed(f"{mirror.archive} has {RELEASE}{f' ({release[0]})' if release else ''}")


def describe_unbuilt(names: Sequence[str]) -> Finding:
    """No failure: what is not built is built when it is needed."""
    seconds = sum(RECIPES[name].estimate_s for name in names)
    return passed(f"{', '.join(names)}; whatever needs one builds it, all of them take about {seconds} s")


def _find_place(name: str) -> Path:
    """Of an image of today's recipe, whether it is there or not."""
    return store_directory() / f"{name}-{compute_digest(name, data_directory('images'))}"


def check_image(name: str) -> Finding:
    """Whole, by the contents of every file."""
    image = find_image(name)
    if image is None:
        return failed(f"{_find_place(name)} is damaged", f"switchover images build {name}")
    if (artifact := find_damage(image)) is not None:
        return failed(
            f"{image.artifact(artifact)} is not what was built",
            f"rm -r {image.directory} && switchover images build {name}",
        )
    return passed(f"built and whole, {format_bytes(image.size)}, of today's recipe")


def check_older_images() -> Finding:
    today = {image.directory for recipe in list_recipes() if (image := find_image(recipe.name)) is not None}
    today |= {stored.path.parent for stored in list_stored() if stored.is_of_today()}
    older = [path for path in stored_directories() if path not in today]
    if not older:
        return passed("none")
    manifests = [json.loads((path / "manifest.json").read_text()) for path in older]
    size = sum(manifest.get("bytes", manifest.get("size", 0)) for manifest in manifests)
    return passed(f"{len(older)}, {format_bytes(size)}; switchover images clean removes them")


def check_labs() -> Finding:
    """Every lab has its processes, and the run that must stop it if it is one's own."""
    dead = find_dead_labs()
    if dead:
        return failed(f"nobody will stop: {', '.join(path.name for path in dead)}", "switchover clean")
    files = [read_lab_file(directory) for directory in find_labs()]
    running = {file.name: len(lab_processes(file)) for file in files}
    seen = "; ".join(f"{file.name}: {running[file.name]} of {len(file.hosts)} lab hosts run" for file in files)
    if broken := [file.name for file in files if running[file.name] < len(file.hosts)]:
        return failed(seen, "; ".join(f"switchover lab down {name}" for name in broken))
    return passed(seen or "none is up")


def check_dead_runs() -> Finding:
    """What harnesses that were killed changed on hosts and did not undo."""
    dead = undo_dead_journals(dry_run=True)
    if not dead:
        return passed("none")
    return failed("; ".join(f"{entry.owner}: {len(entry.outcomes)} changes" for entry in dead), "switchover clean")


def check_strays() -> Finding:
    """QEMU processes of labs whose directory is gone, so that no command stops them.

    A lab of another state directory has its own directory, and is nobody's stray.
    """
    strays = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(_TOKEN.match(word) for word in words) and not _has_lab(words):
            strays.append(process.pid)
    if strays:
        return failed(f"{len(strays)} QEMU processes of labs that are gone", f"kill {' '.join(map(str, strays))}")
    return passed("none")


def _has_lab(words: Sequence[str]) -> bool:
    """Whether the lab is there whose directory holds a lab host's console (see ``labhost_arguments``)."""
    consoles = [Path(word.removeprefix("file:")) for word in words if word.startswith("file:/")]
    return any((console.parent.parent / "lab.json").exists() for console in consoles)


def check_test_packages() -> Finding:
    lacking = [name for name in ("pytest", "hypothesis", "pytest_timeout") if importlib.util.find_spec(name) is None]
    if lacking:
        return failed(f"not installed: {', '.join(lacking)}", "./switchover test, from a clone")
    return passed("installed")

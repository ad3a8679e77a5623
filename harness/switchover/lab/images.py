# SPDX-License-Identifier: GPL-2.0-or-later
"""The store of images: each is built once and cached under the digest of its inputs, outside the checkout.

Layout of the store: ``NAME-DIGEST/`` with the artifacts and ``manifest.json``, ``NAME-DIGEST.lock`` while somebody
builds it, ``NAME-DIGEST.log`` with what the build printed. An image appears by one rename, so a build that was killed
leaves no half of one; what it left in a temporary directory is removed by the next.
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock

from switchover.hosts import processes
from switchover.hosts.packages import explain_install
from switchover.lab.custom_toolchains import find_own, list_own, require_inputs
from switchover.lab.mirror import read_mirror, require_keyring
from switchover.lab.recipes import RECIPES, RELEASE, Recipe, compute_digest, order_recipes, parse_word_list
from switchover.record.errors import CommandFailed, NotReady
from switchover.record.log import say, step
from switchover.record.paths import cache_directory, data_directory
from switchover.record.units import MIB, format_bytes

NEEDED_BYTES = 5 << 30
"""Free space that building images takes: those of a lab; others may take more (:func:`compute_needed_bytes`)."""
_BUILD_TIMEOUT_S = 3600
TELL_S = 60.0
"""How often a long build says where it is."""
_BESIDE = (".part", ".log", ".lock")


@dataclass(frozen=True)
class Image:
    """A built image: its directory, its digest, the size on disk in bytes, how long it took to build in seconds."""

    name: str
    digest: str
    directory: Path
    size: int
    seconds: float

    def artifact(self, name: str) -> Path:
        return self.directory / name


def store_directory() -> Path:
    return cache_directory() / "images"


def find_recipe(name: str) -> Recipe | None:
    """The project's, or of a toolchain of the user's own."""
    return RECIPES.get(name) or find_own(name)


def _require_recipe(name: str) -> Recipe:
    recipe = find_recipe(name)
    if recipe is None:
        raise KeyError(name)
    return recipe


def _compute_digest(recipe: Recipe) -> str:
    return compute_digest(recipe, data_directory("images"), _require_recipe)


def list_recipes() -> list[Recipe]:
    """The project's, then those of toolchains of the user's own."""
    return [*RECIPES.values(), *list_own()]


def find_image(name: str) -> Image | None:
    """The image as today's recipes make it, if it is in the store and whole.

    Whole means: every artifact has the size noted when it was built. A damaged image counts as not there.
    """
    recipe = find_recipe(name)
    if recipe is None:
        return None
    digest = _compute_digest(recipe)
    directory = store_directory() / f"{name}-{digest}"
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
        if any(_size(directory / artifact) != size for artifact, size in manifest["artifacts"].items()):
            return None
        return Image(name, digest, directory, manifest["size"], manifest["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find_damage(image: Image) -> str | None:
    """The first artifact whose contents are not what was built, or None. Reads all of them: takes seconds."""
    manifest = json.loads((image.directory / "manifest.json").read_text())
    for artifact, digest in manifest["sha256"].items():
        if _hash(image.artifact(artifact)) != digest:
            return str(artifact)
    return None


def require_image(name: str) -> Image:
    """:raises NotReady: it was not built yet, or is damaged"""
    image = find_image(name)
    if image is None:
        raise NotReady(f"The image {name!r} is not built, or is damaged.", fix=f"switchover images build {name}")
    return image


def build_images(names: list[str]) -> dict[str, Image]:
    """Build what is missing of the named images and of all they need; independent trees of packages side by side.

    :raises NotReady: the mirror does not answer, the disk is too small, a program is missing, a build failed
    """
    ordered = order_recipes(names, _require_recipe)
    missing = require_buildable(names)
    if missing:
        say(f"images to build: {', '.join(recipe.name for recipe in missing)}, about {_estimate(missing)} s")
        store_directory().mkdir(parents=True, exist_ok=True)
    trees = [recipe for recipe in missing if recipe.packages]
    with ThreadPoolExecutor(max_workers=max(1, len(trees))) as pool:
        builds = [pool.submit(_build, recipe) for recipe in trees]
        try:
            for build in builds:
                build.result()
        except BaseException:
            while wait(builds, timeout=0.2).not_done:
                processes.kill_started()
            raise
    for recipe in missing:
        if not recipe.packages:
            _build(recipe)
    return {recipe.name: require_image(recipe.name) for recipe in ordered}


def require_buildable(names: list[str]) -> list[Recipe]:
    """What is missing of the named images and of all they need, in the order in which it is built; builds nothing.

    :raises NotReady: the disk has no room for it, or a program is missing
    """
    missing = [recipe for recipe in order_recipes(names, _require_recipe) if find_image(recipe.name) is None]
    if missing:
        _require_space(missing)
        processes.require_program("mmdebstrap", needed_to="make images of Debian packages")
        processes.require_program("unshare", needed_to="make images without mounts here")
    return missing


def stored_directories() -> list[Path]:
    """Everything in the store that looks like an image, today's or an older one."""
    return sorted(path.parent for path in store_directory().glob("*/manifest.json"))


def clean_store(*, everything: bool, others: Iterable[Path] = ()) -> int:
    """Remove images that today's recipes do not make (``everything``: all), and what dead builds left.

    ``others``: directories in the store that are of today, and no recipe's. :returns: bytes freed
    """
    keep: set[Path] = set()
    if not everything:
        keep = {image.directory for recipe in list_recipes() if (image := find_image(recipe.name)) is not None}
        keep |= set(others)
    paths = store_directory().glob("*") if store_directory().is_dir() else []
    freed = 0
    for target in sorted({_image_of(path) for path in paths} - keep):
        try:
            with filelock.FileLock(f"{target}.lock", timeout=0):
                for path in (target, *(Path(f"{target}{suffix}") for suffix in _BESIDE)):
                    freed += _disk_usage(path)
                    _remove(path)
        except filelock.Timeout:
            say(f"{target.name} is being built by another process: left alone")
    return freed


def _image_of(path: Path) -> Path:
    """The image that something in the store belongs to; names of images may have dots."""
    return path.with_suffix("") if path.suffix in _BESIDE else path


def _build(recipe: Recipe) -> None:
    digest = _compute_digest(recipe)
    target = store_directory() / f"{recipe.name}-{digest}"
    with locked_in_store(target):
        if find_image(recipe.name) is not None:
            say(f"image {recipe.name}: built meanwhile by another process")
            return
        temporary = Path(f"{target}.part")
        for leftover in (temporary, target):
            _remove(leftover)
        temporary.mkdir(mode=0o755)
        start = time.monotonic()
        with step(f"image {recipe.name} ({recipe.purpose}; about {recipe.estimate_s} s)"):
            try:
                _bootstrap(recipe, temporary) if recipe.packages else _run_build_script(recipe, temporary)
                size = _disk_usage(temporary)
                manifest = {
                    "name": recipe.name,
                    "digest": digest,
                    "release": recipe.release or RELEASE,
                    "seconds": round(time.monotonic() - start, 1),
                    "size": size,
                    "artifacts": {artifact: _size(temporary / artifact) for artifact in recipe.artifacts},
                    "sha256": {name: _hash(temporary / name) for name in recipe.artifacts if name != "root"},
                    "packages": _read_packages(temporary),
                    "recipe": asdict(recipe),
                }
                (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
                temporary.rename(target)
            except BaseException:
                _remove(temporary)
                raise
        say(f"image {recipe.name}: {format_bytes(size)}")


@contextmanager
def locked_in_store(target: Path) -> Iterator[None]:
    """While something of this path is made; a second process waits, and says so."""
    lock = filelock.FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"waiting for another process that builds {target.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _bootstrap(recipe: Recipe, directory: Path) -> None:
    """A tree of Debian packages: as ``root.tar``, or unpacked as ``root`` for the build root."""
    mirror = read_mirror()
    lists = [data_directory("images") / source / "packages" for source in recipe.sources]
    packages = [word for path in lists for word in parse_word_list(path.read_text())]
    release = recipe.release or RELEASE
    tree = directory / "root.tar"
    argv = [
        "mmdebstrap",
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        f"--variant={'extract' if recipe.unpacked else 'minbase'}",
        "--format=tar",
        f"--include={','.join(packages)}",
        f"--keyring={require_keyring()}",
        '--aptopt=Apt::Install-Recommends "false"',
        '--aptopt=Acquire::Retries "3"',
        *(f"--aptopt={option}" for option in mirror.options),
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")),
        *((f'--aptopt=APT::Default-Release "{release}-backports"',) if recipe.backports else ()),
        *(f"--customize-hook={hook}" for hook in _list_hooks(recipe)),
        release,
        str(tree),
        *mirror.sources(release, backports=recipe.backports, source_packages=bool(recipe.source_package)),
    ]
    _run_logged(recipe, [*namespace_command(), *argv] if os.geteuid() == 0 else argv, directory)
    if "root" in recipe.artifacts:
        (directory / "root").mkdir()
        unpack = ["tar", "-x", "--exclude=./dev/*", "-f", str(tree), "-C", str(directory / "root")]
        processes.run([*namespace_command(), *unpack], timeout=_BUILD_TIMEOUT_S)
        tree.unlink()


def _list_hooks(recipe: Recipe) -> list[str]:
    """Shell commands for mmdebstrap, which gives them the tree as ``$1``; the first one tells versions."""
    if recipe.unpacked:
        return ['for file in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --show "$file" >&2; done']
    hooks = ['chroot "$1" dpkg-query -W >&2', 'mkdir "$1/in" "$1/out"']
    if recipe.source_package:
        fetch = f"apt-get source --download-only --only-source {recipe.source_package}"
        hooks.append(f'cd "$1/usr/src" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {fetch}')
    return hooks


def _run_build_script(recipe: Recipe, directory: Path) -> None:
    """``images/NAME/build`` inside the build root."""
    require_inputs(recipe)
    recipes = data_directory("images")
    inputs = {"recipes": recipes} | {
        name: require_image(name).directory for name in recipe.needs if name != recipe.root
    }
    inputs |= {name: Path(path) for name, path in recipe.inputs}
    root = require_image(recipe.root).artifact("root")
    script = recipe.script or f"{recipe.name}/build"
    argv = [
        *namespace_command(),
        *("sh", str(recipes / "common" / "enter"), str(root), str(directory), f"/in/recipes/{script}"),
        *(f"{name}={path}" for name, path in inputs.items()),
    ]
    _run_logged(recipe, argv, directory)
    for artifact in recipe.artifacts:
        if not (directory / artifact).exists():
            raise NotReady(f"The build of image {recipe.name!r} made no {artifact}.")


def namespace_command() -> list[str]:
    """What gives a command mounts of its own; without root, also a user namespace (needs uidmap's /etc/subuid)."""
    own = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return own if os.geteuid() == 0 else [*own, "--map-root-user", "--map-auto"]


def _run_logged(recipe: Recipe, argv: list[str], directory: Path) -> None:
    """Run a step of a build, its output in a log beside the image; that output explains a failure."""
    log = Path(f"{_image_of(directory)}.log")
    try:
        # mmdebstrap's temporary tree lies in TMPDIR: beside the image, the next build removes what a killed one left
        env = {**os.environ, "TMPDIR": str(directory)} if os.geteuid() == 0 else None
        with _told(recipe, log):
            processes.run(argv, timeout=_BUILD_TIMEOUT_S, output=log, env=env)
    except CommandFailed as error:
        raise explain_build_failure(recipe.name, log.read_text(errors="replace"), log) from error


@contextmanager
def _told(recipe: Recipe, log: Path) -> Iterator[None]:
    """During a long step, the line of its log that it is at, from time to time."""
    over, start = threading.Event(), time.monotonic()

    def tell() -> None:
        while not over.wait(TELL_S):
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            last = lines[-1].strip()[:80] if lines else ""
            say(f"  {recipe.name}: {time.monotonic() - start:.0f} s, {len(lines)} lines, {last}")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def explain_build_failure(name: str, output: str, log: Path) -> NotReady:
    """The error for a failed build, from what the build printed. Pure."""
    what = f"The image {name!r} could not be built."
    errors = [line for line in output.splitlines() if line.startswith(("E:", "Err:")) or "error:" in line.lower()]
    why = "\n       ".join(errors[-5:] or output.strip().splitlines()[-5:])
    if "No space left on device" in output:
        fix = f"free some space on the disk of {log.parent} (about {format_bytes(NEEDED_BYTES)} are needed)"
    elif any(text in output for text in ("Failed to fetch", "Could not connect", "Temporary failure resolving")):
        fix = "see that apt-get update works on this machine, then run the same command again"
    elif "newuidmap" in output or "subuid" in output:
        fix = f"{explain_install('newuidmap')}, and give your user a range in /etc/subuid and /etc/subgid"
    else:
        fix = f"read {log}"
    return NotReady(what, why=why, fix=fix)


def _read_packages(directory: Path) -> dict[str, str]:
    """Package versions that ``dpkg-query -W`` printed into the log of a tree of packages."""
    log = Path(f"{_image_of(directory)}.log")
    rows = (line.split("\t") for line in log.read_text(errors="replace").splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2 and " " not in row[0]}


def compute_needed_bytes(recipes: list[Recipe]) -> int:
    """Free space that building them takes: trees of packages side by side, then the rest beside what stays of these."""
    trees = sum(recipe.room_mib for recipe in recipes if recipe.packages)
    rest = sum(recipe.room_mib for recipe in recipes if not recipe.packages)
    return max(NEEDED_BYTES, trees * MIB, (trees // 2 + rest) * MIB)


def _require_space(missing: list[Recipe]) -> None:
    existing = next(path for path in (store_directory(), *store_directory().parents) if path.exists())
    free, needed = shutil.disk_usage(existing).free, compute_needed_bytes(missing)
    if free < needed:
        raise NotReady(
            f"Building images needs {format_bytes(needed)} free on the disk of {existing}; {format_bytes(free)} are.",
            why=f"not built yet: {', '.join(recipe.name for recipe in missing)}",
            fix="free some space, or point XDG_CACHE_HOME at another disk",
        )


def _estimate(recipes: list[Recipe]) -> int:
    """Seconds for a list of recipes: trees of packages are made side by side, the rest one by one."""
    trees = max((recipe.estimate_s for recipe in recipes if recipe.packages), default=0)
    return trees + sum(recipe.estimate_s for recipe in recipes if not recipe.packages)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int | None:
    """Size of a file; 0 for a directory; None if it is not there."""
    if path.is_dir():
        return 0
    return path.stat().st_size if path.exists() else None


def _disk_usage(path: Path) -> int:
    """Bytes that a file or tree takes on disk (sparse files count what they hold)."""
    if not path.is_dir():
        return path.lstat().st_blocks * 512 if path.exists() else 0
    return sum((Path(base) / name).lstat().st_blocks * 512 for base, _, names in os.walk(path) for name in names)


def _remove(path: Path) -> None:
    """Remove a file or tree; a tree of another user namespace is removed inside one."""
    if path.is_dir() and os.geteuid() != 0:
        processes.run([*namespace_command(), "rm", "-rf", str(path)])
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

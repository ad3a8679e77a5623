# SPDX-License-Identifier: GPL-2.0-or-later
"""The store of images: whole or not there, cleaned, built once by two at a time, and failures explained."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from switchover.hosts import processes
from switchover.hosts.host import paste
from switchover.hosts.waiting import wait_until
from switchover.lab import images, recipes
from switchover.lab.images import (
    Image,
    build_images,
    clean_store,
    compute_needed_bytes,
    explain_build_failure,
    find_damage,
    find_image,
    require_buildable,
    require_image,
    store_directory,
    stored_directories,
)
from switchover.lab.mirror import Mirror
from switchover.lab.recipes import LAB_IMAGES, RECIPES, Recipe, compute_digest, order_recipes
from switchover.record.errors import CommandFailed, NotReady
from switchover.record.paths import data_directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, away from the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store_directory() == tmp_path / "cache" / "switchover" / "images"
    return tmp_path / "cache"


def put_image(name: str = "guest", *, digest: str = "") -> Path:
    """An image in the store as a build leaves it."""
    digest = digest or compute_digest(name, data_directory("images"))
    directory = store_directory() / f"{name}-{digest}"
    directory.mkdir(parents=True)
    (directory / "vmlinuz").write_bytes(b"kernel")
    (directory / "root").mkdir()
    manifest = {"name": name, "digest": digest, "size": 6, "seconds": 1.5, "artifacts": {"vmlinuz": 6, "root": 0}}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    for suffix in (".lock", ".log"):
        (store_directory() / f"{name}-{digest}{suffix}").touch()
    return directory


def test_a_whole_image_is_found() -> None:
    """An image whose artifacts have the noted sizes is there, with its manifest."""
    directory = put_image()
    image = find_image("guest")
    assert image == Image("guest", directory.name.removeprefix("guest-"), directory, 6, 1.5)
    assert image.artifact("vmlinuz").read_bytes() == b"kernel"
    assert require_image("guest") == image


@pytest.mark.parametrize("damage", ["shorter", "gone", "tree gone", "no manifest", "cut manifest", "older recipe"])
def test_a_damaged_image_is_not_there(damage: str) -> None:
    """A cut or missing artifact, a missing or cut manifest, or another recipe: as if it were not built."""
    directory = put_image(digest="0" * 16 if damage == "older recipe" else "")
    match damage:
        case "shorter":
            (directory / "vmlinuz").write_bytes(b"ker")
        case "gone":
            (directory / "vmlinuz").unlink()
        case "tree gone":
            (directory / "root").rmdir()
        case "no manifest":
            (directory / "manifest.json").unlink()
        case "cut manifest":
            (directory / "manifest.json").write_text('{"name": "gue')
    assert find_image("guest") is None
    with pytest.raises(NotReady, match="switchover images build guest"):
        require_image("guest")


def test_damage_within_the_size() -> None:
    """Changed contents of the same size are found by reading all of it, with the artifact's name."""
    directory = put_image()
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["sha256"] = {"vmlinuz": hashlib.sha256(b"kernel").hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert find_damage(require_image("guest")) is None
    (directory / "vmlinuz").write_bytes(b"kernal")
    assert find_damage(require_image("guest")) == "vmlinuz"


@pytest.mark.parametrize("text", ["{}", "[]", "null"])
def test_a_manifest_of_another_shape_is_damage(text: str) -> None:
    """A manifest that is JSON and not what is written today counts as damage."""
    (put_image() / "manifest.json").write_text(text)
    assert find_image("guest") is None


def names_in_store() -> list[str]:
    return sorted(path.name for path in store_directory().iterdir())


def test_cleaning_keeps_todays_images() -> None:
    """Images of older recipes go, with their logs and what a dead build left; today's stay, logs included."""
    kept = put_image()
    old = put_image(digest="0" * 16)
    (store_directory() / "labhost-1111111111111111.part").mkdir()
    (store_directory() / "labhost-1111111111111111.part" / "half").write_bytes(b"x" * 100_000)
    assert set(stored_directories()) == {kept, old}
    freed = clean_store(everything=False)
    assert freed >= 100_000
    left = [name for name in names_in_store() if not name.endswith(".lock")]
    assert left == [kept.name, f"{kept.name}.log"]
    assert find_image("guest") is not None


def test_names_may_have_dots() -> None:
    """An image whose name has a dot is one of its own: with its log, its lock and what a dead build of it left."""
    kept = put_image("qemu-11.1")
    old = put_image("qemu-11.1", digest="0" * 16)
    for suffix in (".lock", ".log"):
        Path(f"{old}{suffix}").unlink()
    part = store_directory() / "qemu-7.2-1111111111111111.part"
    part.mkdir()
    assert find_image("qemu-11.1") is not None
    clean_store(everything=False)
    assert kept.is_dir()
    assert not old.exists()
    assert not part.exists()
    assert [name for name in names_in_store() if "qemu-7.2" in name] == []


def test_what_mmdebstrap_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Packages of another release are unpacked from its suite; a source package comes with lines for sources."""
    said: dict[str, str] = {}
    monkeypatch.setattr(images, "_run_logged", lambda recipe, argv, directory: said.update({recipe.name: paste(argv)}))
    monkeypatch.setattr(images, "read_mirror", lambda: Mirror("http://archive", None, ()))
    monkeypatch.setattr(images, "require_keyring", lambda: Path("/keys"))
    for name in ("qemu-7.2-root", "qemu-11.1-root", "labhost-root"):
        images._bootstrap(RECIPES[name], tmp_path)
    assert "--variant=extract" in said["qemu-7.2-root"]
    assert " bookworm " in said["qemu-7.2-root"]
    assert "trixie" not in said["qemu-7.2-root"]
    assert "deb http://archive trixie-backports main" in said["qemu-11.1-root"]
    assert "Default-Release" in said["qemu-11.1-root"]
    assert "--variant=minbase" in said["labhost-root"]
    assert "backports" not in said["labhost-root"]
    with contextlib.suppress(CommandFailed):  # there is no tree to unpack
        images._bootstrap(RECIPES["qemu-buildroot"], tmp_path)
    assert "deb-src http://archive trixie main" in said["qemu-buildroot"]
    assert "apt-get source --download-only" in said["qemu-buildroot"]


def test_cleaning_everything() -> None:
    """With ``everything`` no image is left, and what was freed is what it took."""
    put_image()
    assert clean_store(everything=True) > 0
    assert find_image("guest") is None
    assert [name for name in names_in_store() if not name.endswith(".lock")] == []


def test_cleaning_leaves_no_locks() -> None:
    """Nothing is left of an image that was removed."""
    put_image()
    clean_store(everything=True)
    assert names_in_store() == []


def test_cleaning_an_empty_store() -> None:
    """Without a store there is nothing to free."""
    assert clean_store(everything=True) == 0


def test_cleaning_leaves_what_is_being_built() -> None:
    """What another process builds is left alone."""
    part = store_directory() / "labhost-1111111111111111.part"
    part.mkdir(parents=True)
    script = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()\n"
    builder = subprocess.Popen(
        [sys.executable, "-c", script, str(part.with_suffix(".lock"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert builder.stdout is not None
    assert builder.stdout.readline() == b"held\n"
    clean_store(everything=True)
    assert part.is_dir()
    builder.communicate()
    clean_store(everything=True)
    assert not part.exists()


LOG = Path("/cache/images/guest-0.log")


@pytest.mark.parametrize(
    ("output", "fix"),
    [
        ("E: Failed to fetch http://deb/x.deb  Could not connect to deb:80", "apt-get update works"),
        ("Err:1 http://deb trixie InRelease\n  Temporary failure resolving 'deb'", "apt-get update works"),
        ("tar: root.tar: Wrote only 4096 of 10240 bytes\nNo space left on device", "free some space on the disk of"),
        ("unshare: failed to execute newuidmap: No such file or directory", "apt-get install uidmap"),
        ("E: invalid /etc/subuid", "/etc/subuid"),
        ("something unheard of", f"read {LOG}"),
    ],
)
def test_a_failed_build_is_explained(output: str, fix: str) -> None:
    """Mirror down, disk full, no user ids: each has its own way out; all else has the log."""
    error = explain_build_failure("guest", f"I: fine\n{output}\n", LOG)
    assert error.what == "The image 'guest' could not be built."
    assert fix in error.fix
    assert output.splitlines()[0] in error.why


def test_the_errors_are_shown_not_the_noise() -> None:
    """Of a long log the last five errors are shown."""
    noise = [f"I: unpacking {number}" for number in range(50)]
    errors = [f"E: broken {number}" for number in range(7)]
    error = explain_build_failure("guest", "\n".join([*errors, *noise]), LOG)
    assert [line.strip() for line in error.why.splitlines()] == errors[2:]


def test_a_full_disk_comes_before_the_fetch_that_it_failed() -> None:
    """A fetch that failed for lack of space is not the mirror's fault."""
    error = explain_build_failure("guest", "E: Failed to fetch x\nNo space left on device", LOG)
    assert "free some space" in error.fix


BUILD = """
import os, sys, threading, time
sys.path[:0] = ["harness"]
from pathlib import Path
from switchover.lab import images, recipes
recipe = recipes.Recipe("guest", "test", sources=("guest",), needs=(), artifacts=("out",))
recipes.RECIPES.clear(); recipes.RECIPES["guest"] = recipe
base = Path(sys.argv[1])
def build(recipe, directory):
    images._run_logged(recipe, ["sh", "-c", "echo $$ >>" + str(base / "builds") + "; echo x >$0/out; " + sys.argv[2],
                                str(directory)], directory)
images._run_build_script = build
images.NEEDED_BYTES = 0
image = images.build_images(["guest"])["guest"]
print(image.directory)
"""


def start_builder(tmp_path: Path, script: str) -> subprocess.Popen[str]:
    """Another harness that builds an image of one file; ``script`` is what its build does at the end."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILD), str(tmp_path), script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_builds(tmp_path: Path) -> int:
    path = tmp_path / "builds"
    return len(path.read_text().split()) if path.exists() else 0


def test_two_at_once_build_once(tmp_path: Path) -> None:
    """Of two harnesses that need the same image at the same time, one builds it and both get it."""
    go_on = tmp_path / "go on"
    first = start_builder(tmp_path, f"until [ -e '{go_on}' ]; do sleep 0.02; done")
    wait_until("the build", lambda: count_builds(tmp_path) == 1, timeout=20)
    second = start_builder(tmp_path, "true")
    assert second.stderr is not None
    assert any("waiting for another process" in line for line in second.stderr)
    go_on.touch()
    results = [builder.communicate(timeout=30) for builder in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), results
    assert count_builds(tmp_path) == 1
    assert results[0][0] == results[1][0] != ""


def test_a_killed_build_leaves_no_half_image(tmp_path: Path) -> None:
    """A harness that is killed in a build leaves nothing that looks built, and the next one builds it."""
    builder = start_builder(tmp_path, "sleep 60")
    wait_until("the build", lambda: count_builds(tmp_path) == 1, timeout=20)
    builder.kill()
    builder.communicate(timeout=10)
    assert stored_directories() == []
    assert list(store_directory().glob("*.part"))
    second = start_builder(tmp_path, "true")
    out, errors = second.communicate(timeout=30)
    assert second.returncode == 0, errors
    assert (Path(out.strip()) / "out").read_text() == "x\n"
    assert list(store_directory().glob("*.part")) == []


def test_a_failed_build_leaves_only_its_log(tmp_path: Path) -> None:
    """A build that fails is explained by what it printed; only its log stays."""
    builder = start_builder(tmp_path, "echo 'E: Failed to fetch it'; exit 1")
    _, errors = builder.communicate(timeout=30)
    assert builder.returncode != 0
    assert "fix: see that apt-get update works" in errors
    assert {path.suffix for path in store_directory().iterdir()} == {".log", ".lock"}


def test_a_build_that_makes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A script that ends well without one of its artifacts did not build the image."""
    recipe = Recipe("guest", "test", sources=("guest",), artifacts=("vmlinuz", "missing"))
    root = Image("buildroot", "0", tmp_path, 0, 0)
    monkeypatch.setattr(images, "require_image", lambda name: root)
    monkeypatch.setattr(images, "_run_logged", lambda recipe, argv, directory: (directory / "vmlinuz").touch())
    with pytest.raises(NotReady, match="made no missing"):
        images._run_build_script(recipe, tmp_path)


def test_a_long_build_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From time to time the line that it printed last is told; what it was is not told after it is over."""
    monkeypatch.setattr(images, "TELL_S", 0.05)
    recipe = Recipe("kernel", "test", sources=())
    images._run_logged(recipe, ["sh", "-c", "echo CC first.o; echo CC second.o; sleep 0.5"], tmp_path / "kernel-0.part")
    told = capsys.readouterr().err
    assert "2 lines, CC second.o" in told
    assert len(told.splitlines()) < 20


def test_a_failure_ends_builds_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """When one of two trees of packages cannot be made, the other one is not waited for."""
    trees = {name: Recipe(name, "test", sources=(name,), packages=True) for name in ("buildroot", "labhost-root")}
    monkeypatch.setattr(images, "NEEDED_BYTES", 0)
    monkeypatch.setattr(recipes, "RECIPES", trees)
    started = threading.Event()
    ended: list[BaseException] = []

    def bootstrap(recipe: Recipe, directory: Path) -> None:
        if recipe.name == "buildroot":
            assert started.wait(10)
            raise NotReady("the mirror does not answer")
        try:
            threading.Timer(0.3, started.set).start()
            processes.run(["sleep", "60"])
        except CommandFailed as error:
            ended.append(error)
            raise

    monkeypatch.setattr(images, "_bootstrap", bootstrap)
    monkeypatch.setattr(processes, "require_program", lambda name, **_: name)
    with pytest.raises(NotReady, match="the mirror does not answer"):
        build_images(["buildroot", "labhost-root"])
    assert "killed by" in str(ended[0])


def test_a_small_disk_is_said_before_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little space is an error before anything is made, with both numbers."""
    monkeypatch.setattr(images, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(NotReady, match=r"needs .* free on the disk of .*are\."):
        build_images(["guest"])
    assert not store_directory().exists()


def test_room_for_what_is_not_built_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of a lab's images at least, and more where more is missing; what is there takes none again."""
    tree, other = (Recipe("tree", "", (), packages=True, room_mib=600), Recipe("other", "", (), room_mib=400))
    assert compute_needed_bytes([tree, other]) == images.NEEDED_BYTES
    assert compute_needed_bytes(order_recipes(RECIPES)) > images.NEEDED_BYTES
    assert compute_needed_bytes(order_recipes([*LAB_IMAGES, "guest"])) == images.NEEDED_BYTES
    monkeypatch.setattr(images, "NEEDED_BYTES", 1)
    assert compute_needed_bytes([tree, tree, other]) == 1200 << 20
    assert compute_needed_bytes([tree, other, other]) == 1100 << 20
    monkeypatch.setattr(processes, "require_program", lambda name, **_: name)
    put_image("buildroot")
    assert [recipe.name for recipe in require_buildable(["guest"])] == ["guest"]
    put_image("guest")
    assert require_buildable(["guest"]) == []


def test_nothing_is_built_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all images in the store, nothing is started."""
    for name in ("buildroot", "guest"):
        put_image(name)
    monkeypatch.setattr(images, "_build", lambda recipe: pytest.fail("built again"))
    assert set(build_images(["guest"])) == {"buildroot", "guest"}


def test_sparse_files_count_what_they_hold(tmp_path: Path) -> None:
    """The size on disk of a sparse file is what it takes, not its length."""
    with (tmp_path / "disk").open("wb") as disk:
        disk.truncate(1 << 30)
        disk.write(os.urandom(4096))
    assert images._disk_usage(tmp_path / "disk") < 1 << 20
    assert images._disk_usage(tmp_path) < 1 << 20

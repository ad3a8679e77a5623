# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover images list|build|clean``."""

import argparse
import json
from pathlib import Path

from switchover.lab.custom_toolchains import DEFAULT_NAMES, keep_own
from switchover.lab.images import (
    build_images,
    clean_store,
    find_image,
    find_recipe,
    list_recipes,
    store_directory,
    stored_directories,
)
from switchover.lab.recipes import LAB_IMAGES
from switchover.lab.snapshot_store import PREFIX, list_stored
from switchover.record.errors import ExitCode, UsageError
from switchover.record.invocation import command
from switchover.record.log import say
from switchover.record.toml import suggest
from switchover.record.units import format_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="show every image: built or not, size, time it took")
    listing.add_argument("--json", action="store_true", help="print JSON, for programs")
    build = actions.add_parser("build", help="build what is missing")
    own = " or ".join(repr(kind) for kind in DEFAULT_NAMES)
    build.add_argument(
        "names",
        nargs="*",
        metavar="IMAGE",
        help=f"images to build; default: all that a lab needs; {own}: one of your own",
    )
    build.add_argument(
        "--patch",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="for one of your own: apply this patch to Debian's QEMU 10.0 or Linux 6.12, or to --source; may be given "
        "several times",
    )
    build.add_argument(
        "--source", type=Path, metavar="DIRECTORY", help="for one of your own: build it from this source tree"
    )
    build.add_argument(
        "--tree",
        type=Path,
        metavar="DIRECTORY",
        help="for a QEMU of your own: use the binaries of this prefix or build directory",
    )
    build.add_argument(
        "--name",
        metavar="NAME",
        help=f"the name of your own image in scenarios; default: {' or '.join(DEFAULT_NAMES.values())}",
    )
    clean = actions.add_parser("clean", help="remove images that no current recipe makes")
    clean.add_argument("--all", action="store_true", help="remove all images")


def run(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "list":
            _list(as_json=arguments.json)
        case "build":
            _build(arguments)
        case "clean":
            saved = [stored.path.parent for stored in list_stored() if stored.is_of_today()]
            print(f"{format_bytes(clean_store(everything=arguments.all, others=saved))} freed")
    return ExitCode.AS_EXPECTED


def _build(arguments: argparse.Namespace) -> None:
    """:raises UsageError: no such image, or options that do not go with it"""
    names = arguments.names or list(LAB_IMAGES)
    made_of = arguments.patch or arguments.source or arguments.tree
    if made_of or arguments.name or set(names) & DEFAULT_NAMES.keys():
        kind = names[0] if len(names) == 1 else ""
        if kind not in DEFAULT_NAMES or not made_of:
            raise UsageError(
                "A QEMU or a kernel of your own needs --patch, --source or --tree, and is built alone.",
                fix=f"{command()} images build qemu|kernel --patch FILE, or --source DIRECTORY, or --tree DIRECTORY",
            )
        name = arguments.name or DEFAULT_NAMES[kind]
        if name.partition("-")[0] != kind:
            raise UsageError(
                f"The name {name!r} cannot be used for a {kind} of your own.",
                why=f"it must begin with {kind}-",
                fix=f"--name {kind}-…",
            )
        keep_own(name, patches=arguments.patch, source=arguments.source, tree=arguments.tree)
        build_images([name])
        say(f'scenarios name it: {kind} = "{name}"')
        return
    unknown = [name for name in names if find_recipe(name) is None]
    if unknown:
        known = [recipe.name for recipe in list_recipes()]
        raise UsageError(f"There is no image {unknown[0]!r}{suggest(unknown[0], known)}.")
    build_images(names)


def _list(*, as_json: bool) -> None:
    recipes = {recipe.name: recipe for recipe in list_recipes()}
    images = {name: find_image(name) for name in recipes}
    saved = [stored for stored in list_stored() if stored.is_of_today()]
    if as_json:
        rows = [
            {
                "name": name,
                "built": image is not None,
                "directory": str(image.directory) if image else None,
                "size_bytes": image.size if image else None,
                "build_seconds": image.seconds if image else None,
            }
            for name, image in images.items()
        ] + [
            {
                "name": f"{PREFIX}{stored.serial}",
                "built": True,
                "directory": str(stored.path.parent),
                "size_bytes": stored.bytes,
                "build_seconds": stored.seconds,
            }
            for stored in saved
        ]
        print(json.dumps(rows, indent=1))
        return
    for name, image in images.items():
        state = f"{format_bytes(image.size):>10}  {image.seconds:5.1f} s" if image else "not built".ljust(19)
        print(f"{name:<30} {state}  {recipes[name].purpose}")
    for stored in saved:
        made_of = ", ".join(stored.made_of)
        size = f"{format_bytes(stored.bytes):>10}  {stored.seconds:5.1f} s"
        print(f"{PREFIX + stored.serial:<30} {size}  a guest that was saved, of {made_of}")
    older = len(stored_directories()) - sum(image is not None for image in images.values()) - len(saved)
    print(f"in {store_directory()}" + (f"; {older} older ({command()} images clean)" if older else ""))

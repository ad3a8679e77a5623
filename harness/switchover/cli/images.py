# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover images list|build|clean``."""

import argparse
import json

from switchover.lab.images import build_images, clean_store, find_image, store_directory, stored_directories
from switchover.lab.recipes import RECIPES
from switchover.record.errors import ExitCode, UsageError
from switchover.record.invocation import command
from switchover.record.units import format_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="show every image: built or not, size, time it took")
    listing.add_argument("--json", action="store_true", help="for programs")
    build = actions.add_parser("build", help="build what is missing")
    build.add_argument("names", nargs="*", metavar="IMAGE", help="default: all a lab needs")
    clean = actions.add_parser("clean", help="remove images that today's recipes do not make")
    clean.add_argument("--all", action="store_true", help="today's images too")


def run(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "list":
            _list(as_json=arguments.json)
        case "build":
            unknown = [name for name in arguments.names if name not in RECIPES]
            if unknown:
                raise UsageError(f"There is no image {unknown[0]!r}.", fix=f"one of: {', '.join(RECIPES)}")
            build_images(arguments.names or ["labhost"])
        case "clean":
            print(f"{format_bytes(clean_store(everything=arguments.all))} freed")
    return ExitCode.AS_EXPECTED


def _list(*, as_json: bool) -> None:
    images = {name: find_image(name) for name in RECIPES}
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
        ]
        print(json.dumps(rows, indent=1))
        return
    for name, image in images.items():
        state = f"{format_bytes(image.size):>10}  {image.seconds:5.1f} s" if image else "not built".ljust(19)
        print(f"{name:<14} {state}  {RECIPES[name].purpose}")
    older = len(stored_directories()) - sum(image is not None for image in images.values())
    print(f"in {store_directory()}" + (f"; {older} older ({command()} images clean)" if older else ""))

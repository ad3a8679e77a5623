# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments that several verbs have."""

import argparse
from pathlib import Path


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which cases: of scenarios in files, directories or the catalogue."""
    parser.add_argument(
        "scenarios", nargs="+", type=Path, metavar="FILE|DIRECTORY|NAME",
        help="scenario files, directories of them, or names in the catalogue",
    )  # fmt: skip
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="cases whose id has this in it, or fits its * and ?"
    )


def parse_positive(text: str) -> int:
    """:raises argparse.ArgumentTypeError: it is less than 1"""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value

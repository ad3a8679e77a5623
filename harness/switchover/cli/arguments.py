# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments that several verbs have."""

import argparse
import re


def parse_positive(text: str) -> int:
    """:raises argparse.ArgumentTypeError: it is less than 1"""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def parse_percent(text: str) -> float:
    """``5%`` is 0.05. :raises argparse.ArgumentTypeError: it is no percentage, or out of the range"""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text.strip(), re.ASCII)
    if not found or float(found[1]) > 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0% to 1000%, such as 5%")
    return float(found[1]) / 100

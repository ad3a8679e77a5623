# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments that several verbs have."""

import argparse


def parse_positive(text: str) -> int:
    """:raises argparse.ArgumentTypeError: it is less than 1"""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value

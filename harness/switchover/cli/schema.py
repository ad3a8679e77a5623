# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover schema``: keys of scenario files, as a JSON schema for editors or as a reference for people."""

import argparse
import json

from switchover.record.errors import ExitCode
from switchover.report.keys import make_json_schema, render_reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reference", action="store_true", help="as Markdown (docs/scenario-keys.md)")


def run(arguments: argparse.Namespace) -> int:
    print(render_reference() if arguments.reference else json.dumps(make_json_schema(), indent=1, ensure_ascii=False))
    return ExitCode.AS_EXPECTED

# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover schema``: keys of scenario files, as a JSON schema for editors or as a reference for people; fields of
the results, as a reference.
"""

import argparse
import json

from switchover.record.errors import ExitCode
from switchover.report.fields import render_fields
from switchover.report.keys import make_json_schema, render_reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--reference", action="store_true", help="print the keys as Markdown (docs/scenario-keys.md)")
    kind.add_argument(
        "--record", action="store_true", help="print the fields of the results as Markdown (docs/record-fields.md)"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.record:
        print(render_fields())
    elif arguments.reference:
        print(render_reference())
    else:
        print(json.dumps(make_json_schema(), indent=1, ensure_ascii=False))
    return ExitCode.AS_EXPECTED

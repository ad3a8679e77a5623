# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover schema``: keys of scenario files, as a JSON schema for editors or as a reference for people; fields of
the results, rules of the oracle, and the questions that they answer, as references.
"""

import argparse
import json

from switchover.record.errors import ExitCode
from switchover.report.fields import render_fields
from switchover.report.keys import make_json_schema, render_reference
from switchover.report.oracle import render_oracle
from switchover.report.rows import render_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--reference", action="store_true", help="keys as Markdown (docs/scenario-keys.md)")
    kind.add_argument("--record", action="store_true", help="fields of the results as Markdown (docs/record-fields.md)")
    kind.add_argument("--rows", action="store_true", help="questions and rules as Markdown (docs/oracle-rows.md)")
    kind.add_argument("--oracle", action="store_true", help="rules of the oracle as Markdown (docs/oracle.md)")


def run(arguments: argparse.Namespace) -> int:
    if arguments.record:
        print(render_fields())
    elif arguments.rows:
        print(render_rows())
    elif arguments.oracle:
        print(render_oracle())
    elif arguments.reference:
        print(render_reference())
    else:
        print(json.dumps(make_json_schema(), indent=1, ensure_ascii=False))
    return ExitCode.AS_EXPECTED

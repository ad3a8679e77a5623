# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover export``: the text where it is asked for, what is left out on standard error."""

from pathlib import Path

import pytest
from tests.unit.builders import make_record
from tests.unit.report.test_summary import make_example
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.errors import ExitCode
from switchover.report.export.table import EXPORTS


@pytest.mark.parametrize("name", EXPORTS)
def test_to_standard_output_and_to_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both get the same text, which ends in one newline; standard error has what is left out, and nothing else."""
    run = str(make_example(tmp_path).path)
    assert main(["export", run, "--as", name]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    assert not out.endswith("\n\n")
    assert all(line.startswith("left out: ") for line in err.splitlines())
    file = tmp_path / "made"
    assert main(["export", run, "--as", name, "--output", str(file)]) == 0
    assert capsys.readouterr() == ("", err)
    assert file.read_text(encoding="utf-8") == out


def test_a_damaged_record(tmp_path: Path) -> None:
    """What can be read is written, and the exit code tells that not all could be."""
    directory = make_run(tmp_path, [make_record("a"), make_record("b")], [make_line("a"), make_line("b")])
    (directory.repeat_path("a", 1) / "record.json").write_text("{")
    file = tmp_path / "made"
    assert main(["export", str(directory.path), "--as", "tap", "--output", str(file)]) == ExitCode.NOT_READY
    assert "ok 2 - b" in file.read_text(encoding="utf-8")


def test_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A format that is not known and a file that cannot be written are usage errors, which say what is wrong."""
    run = str(make_example(tmp_path).path)
    with pytest.raises(SystemExit) as ended:
        main(["export", run, "--as", "subunit"])
    assert ended.value.code == ExitCode.USAGE
    assert "github-action-benchmark" in capsys.readouterr().err
    assert main(["export", run, "--as", "tap", "--output", str(tmp_path)]) == ExitCode.USAGE
    assert "cannot be written" in capsys.readouterr().err

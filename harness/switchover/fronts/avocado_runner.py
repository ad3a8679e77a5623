# SPDX-License-Identifier: GPL-2.0-or-later
"""A case of the catalogue as avocado runs it: the program ``avocado-runner-switchover``, one process per test.

avocado kills that process a moment after it asked it to end, and waits for the result of one that was killed for ever.
So the process that avocado knows stands for another one, which carries out the case; either may die.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from switchover.fronts.avocado_api import (
    BaseRunner,
    BaseRunnerApp,
    FinishedMessage,
    Runnable,
    StartedMessage,
    TaskStatusService,
)
from switchover.fronts.avocado_resolver import CONFIGURATION_USED, KIND
from switchover.fronts.avocado_version import find_misfit


class Ending:
    """Whether somebody wants the test to end: avocado with a signal, or the death of the process that it knows."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self.asked = False
        self.abandoned = False
        """nobody asked before: avocado waits for a result"""
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.abandoned = self.abandoned or (not self.asked and self._is_orphan())
        self.asked = True

    def _is_orphan(self) -> bool:
        return os.getppid() != self._parent

    @property
    def is_told(self) -> bool:
        """Whether avocado has given the test a result itself, and a second one would count."""
        return self.asked and not self.abandoned and self._is_orphan()


class SwitchoverRunner(BaseRunner):  # type: ignore[misc]
    """The runner of the kind ``switchover``."""

    name = KIND
    description = "Runner of cases of the catalogue of Switchover"
    CONFIGURATION_USED = [*CONFIGURATION_USED]  # noqa: RUF012 (avocado adds lists of it)

    def run(self, runnable: Runnable) -> Iterator[Mapping[str, Any]]:
        yield StartedMessage.get()
        if misfit := find_misfit():
            yield FinishedMessage.get("error", fail_reason=misfit)
            return
        from switchover.fronts.avocado_execution import carry_out

        try:
            yield from carry_out(runnable, Ending())
        except Exception as error:  # a bug of ours, or a disk that is full: without a result avocado would wait
            text = traceback.format_exc()
            yield FinishedMessage.get("error", fail_reason=f"{type(error).__name__}: {error}", traceback=text)


class RunnerApp(BaseRunnerApp):  # type: ignore[misc]
    PROG_NAME = f"avocado-runner-{KIND}"
    PROG_DESCRIPTION = "Runs cases of the catalogue of Switchover for avocado"
    RUNNABLE_KINDS_CAPABLE = [KIND]  # noqa: RUF012

    def tell_death(self, how: str) -> None:
        """In place of the process that carried out the case: the test has a result, whatever happened."""
        arguments = vars(self.parser.parse_args())
        told = FinishedMessage.get("error", fail_reason=f"the process that carried out the case died ({how})")
        told |= {"id": arguments.get("identifier"), "job_id": arguments.get("job_id")}
        for uri in arguments.get("status_uri") or ():
            with contextlib.suppress(OSError):
                TaskStatusService(uri).post(told)


def _echo(status: object) -> None:
    """For people who start the program themselves; pieces of files are none of theirs."""
    if not isinstance(status, Mapping) or status.get("type") != "file":
        print(status, flush=True)


def main() -> None:
    """The program; its arguments are avocado's own."""
    app = RunnerApp(_echo)
    if not any("-run" in word for word in sys.argv[1:2]):
        app.run()
        return
    from switchover.hosts.orphans import run_behind

    sys.exit(run_behind(app.run, app.tell_death))


if __name__ == "__main__":
    main()

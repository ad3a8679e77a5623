# SPDX-License-Identifier: GPL-2.0-or-later
"""A case of the catalogue carried out in this process: every execution ends in one record, on disk."""

import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from switchover.catalogue.case import CatalogueCase
from switchover.catalogue.context import CaseFailed, Context
from switchover.record.ending import Ending
from switchover.record.errors import GuestCrashed, HostLost, NotSupported, Refused, SwitchoverError
from switchover.record.planfile import PlanLine
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.record.version import __version__
from switchover.runner.testbed import Testbed
from switchover.scenarios.expectation import COMPLETES

TRACEBACK = "traceback.txt"
"""Beside the record of a case in Python that ended with an error."""


class TimedOut(BaseException):
    """Raised in a case that takes too long, by whoever watches the time; no ``except Exception`` of a case stops it."""


@dataclass(frozen=True)
class _End:
    """How a function ended. ``mismatch``: empty if it is as expected."""

    verdict: Verdict
    mismatch: str = ""
    ending: Ending = Ending.BY_ITSELF


def conduct(case: CatalogueCase, number: int, place: RepeatDirectory, testbed: Testbed | None) -> Record:
    """Run a case once; its record is in ``place`` when this returns or raises.

    ``testbed``: None for a case that needs no hosts. An interruption is recorded and raised again.

    :raises NotReady: the hosts cannot be had
    """
    if case.planned is not None:
        if testbed is None:
            raise AssertionError("a scenario's case needs hosts")
        return testbed.run_into(case.planned, number, place)
    started, began = datetime.now(UTC).isoformat(), time.monotonic()
    end = _End(Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason="the case did not end"), "it did not end")
    context = Context(place, case.parameters, None)
    try:
        if testbed is None:
            end = _call(case, context)
        else:
            with testbed.inside(place) as within:
                context = Context(place, case.parameters, within)
                end = _call(case, context)
    except TimedOut as error:
        end = _timed_out(error)
    except KeyboardInterrupt:
        end = _failed("interrupted", Ending.INTERRUPTED)
        raise
    finally:
        record = _make_record(case, number, started, time.monotonic() - began, context, end)
        place.write_record(record)
    return record


def _call(case: CatalogueCase, context: Context) -> _End:
    if case.function is None:
        raise AssertionError("a case is a scenario's or a function")
    try:
        case.function(context, **case.parameters)
    except NotSupported as error:
        return _End(Verdict(VerdictName.NOT_SUPPORTED, reason=str(error)))
    except CaseFailed as error:
        return _wrong(str(error))
    except AssertionError as error:
        _keep_traceback(context)
        return _wrong(f"assertion failed: {str(error) or _describe_line(error, case)}")
    except (Refused, GuestCrashed) as error:
        name = VerdictName.REFUSED if isinstance(error, Refused) else VerdictName.CRASHED
        return _End(Verdict(name, reason=str(error)), f"expected completed, was {name}")
    except SwitchoverError as error:
        return _failed(str(error), Ending.HOST_LOST if isinstance(error, HostLost) else Ending.BY_ITSELF)
    except Exception as error:
        _keep_traceback(context)
        return _failed(f"{type(error).__name__}: {error} ({_describe_line(error, case)})")
    if wrong := [check for check in context.checks if not check.passed]:
        first = wrong[0]
        return _wrong(f"{first.name}: expected {first.expected}, observed {first.observed}")
    return _End(Verdict(VerdictName.COMPLETED))


def _wrong(reason: str) -> _End:
    return _End(Verdict(VerdictName.CHECKS_FAILED, reason=reason), reason)


def _failed(reason: str, ending: Ending = Ending.BY_ITSELF) -> _End:
    return _End(Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=reason), reason, ending)


def _timed_out(error: TimedOut) -> _End:
    return _End(Verdict(VerdictName.HUNG, reason=str(error)), f"expected completed, was hung: {error}")


def _describe_line(error: BaseException, case: CatalogueCase) -> str:
    """The innermost line of the case's own file, or of whatever else there is."""
    every = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in every if frame.filename == str(case.source)] or every
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no line is known"


def _keep_traceback(context: Context) -> None:
    context.attach(TRACEBACK, traceback.format_exc())


def _make_record(case: CatalogueCase, number: int, started: str, seconds: float, context: Context, end: _End) -> Record:
    last: Mapping[str, Any] = context.records[-1].fingerprint if context.records else {"switchover": __version__}
    return Record(
        case=case.id,
        repeat=number,
        started=started,
        verdict=end.verdict,
        settings=_describe_settings(case),
        fingerprint=last,
        seconds={"case": round(seconds, 3)},
        measurements=tuple(context.measurements),
        checks=tuple(context.checks),
        downtime={"reason": "the case's migrations have records of their own"},
        expectation=asdict(COMPLETES),
        mismatch=end.mismatch,
        ending=end.ending,
    )


def _describe_settings(case: CatalogueCase) -> dict[str, object]:
    return {"python": case.place, "parameters": {name: str(value) for name, value in case.parameters.items()}}


def make_plan_line(case: CatalogueCase) -> PlanLine:
    """As it stands in ``plan.json`` of a run."""
    if case.planned is not None:
        expectation, rule, own = case.planned.case.expectation, case.planned.rule.name, case.planned.case.id
    else:
        expectation, rule, own = COMPLETES, "", case.id
    return PlanLine(case.id, own, case.group, case.repeats, asdict(expectation), rule, case.seconds)


def make_lost(case: CatalogueCase, number: int, reason: str, ending: Ending = Ending.LOST) -> Record:
    """The record of an execution that left none, since its process died or its hosts were lost."""
    verdict = Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason=reason)
    line = make_plan_line(case)
    return Record(
        case=case.id,
        repeat=number,
        started=datetime.now(UTC).isoformat(),
        verdict=verdict,
        settings=_describe_settings(case) if case.is_python else {},
        fingerprint={},
        downtime={"reason": "there was no migration"},
        expectation=line.expectation,
        mismatch=reason,
        ending=ending,
    )


def make_interrupted(case: CatalogueCase, number: int) -> Record:
    """The record of an execution that somebody interrupted before it left one itself."""
    return make_lost(case, number, "interrupted", Ending.INTERRUPTED)


def make_hung(case: CatalogueCase, number: int, seconds: float) -> Record:
    """The record of an execution that was ended since it took too long, and left none itself."""
    end = _timed_out(TimedOut(describe_timeout(seconds)))
    return replace(make_lost(case, number, end.mismatch, end.ending), verdict=end.verdict)


def describe_timeout(seconds: float) -> str:
    return f"it took longer than its {seconds:g} s"

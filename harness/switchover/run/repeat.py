# SPDX-License-Identifier: GPL-2.0-or-later
"""One repeat of a case: devices, guests, migration, checks, record, release (always)."""

import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.migration.session import Sample
from switchover.record.errors import SwitchoverError
from switchover.record.log import LOG, say
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RepeatDirectory
from switchover.run.case import Case, Pair
from switchover.run.passage import Passage, examine, migrate_sides
from switchover.run.probes import ask_guest, seed_device
from switchover.run.side import Side, start_side
from switchover.run.verdict import judge_error, judge_result


@dataclass
class Stopwatch:
    """Where the time goes: seconds by step, one after the other, and the step that is going on."""

    seconds: dict[str, float] = field(default_factory=dict)
    step: str = ""
    _since: float = 0.0

    def begin(self, step: str) -> None:
        """End the step before and begin another."""
        self.end()
        self.step, self._since = step, time.monotonic()
        LOG.debug("step: %s", step)

    def end(self) -> None:
        if self.step:
            self.seconds[self.step] = round(time.monotonic() - self._since, 3)


def run_repeat(
    case: Case, number: int, pair: Pair, directory: RepeatDirectory, fingerprint: Mapping[str, Any]
) -> Record:
    """Run a case once and leave its record in ``directory``, whatever happens.

    Errors of the product and of the environment become verdicts; an interruption and a bug of ours are recorded and
    then raised again.
    """
    started = datetime.now(UTC).isoformat()
    watch = Stopwatch()
    passage: Passage | None = None
    verdict = Verdict(VerdictName.INFRASTRUCTURE_ERROR, reason="the repeat did not end")
    found: dict[str, Any] = dict(fingerprint)
    try:
        passage = _execute(case, pair, watch, directory, found)
        verdict = judge_result(passage.result, passage.checks)
    except SwitchoverError as error:
        verdict = judge_error(error, watch.step)
    except BaseException as error:
        verdict = judge_error(error, watch.step)
        raise
    finally:
        watch.end()
        record = Record(
            case=case.id,
            repeat=number,
            started=started,
            verdict=verdict,
            settings={"knobs": asdict(case.knobs), "migration": asdict(case.settings), "guest": asdict(case.guest),
                      "device_properties": dict(case.device_properties)},
            fingerprint=found,
            seconds=watch.seconds,
            measurements=passage.measurements if passage else (),
            checks=passage.checks if passage else (),
            downtime=passage.downtime if passage else {"reason": "there was no migration"},
            states=passage.states if passage else {},
            clocks={side: asdict(clock) for side, clock in passage.result.clocks.items()} if passage else {},
        )  # fmt: skip
        directory.write_record(record)
    return record


def _execute(case: Case, pair: Pair, watch: Stopwatch, directory: RepeatDirectory, found: dict[str, Any]) -> Passage:
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(LoopThread())
        watch.begin("start source")
        source = stack.enter_context(start_side(case, pair.source.host, "source", pair.keys, loop, incoming=False))
        stack.callback(_keep_evidence, source, directory)
        watch.begin("start destination")
        destination = stack.enter_context(
            start_side(case, pair.destination.host, "destination", pair.keys, loop, incoming=True)
        )
        stack.callback(_keep_evidence, destination, directory)
        found["qemu"] = {side.guest.side: side.guest.qmp.execute("query-version") for side in (source, destination)}
        watch.begin("guest boot")
        source.guest.wait_until_reachable()
        watch.begin("ask before")
        with source.guest.open_ssh(pair.keys) as guest:
            seed_device(guest, random.Random())
            before = ask_guest(guest)
        watch.begin("migrate")
        samples: list[Sample] = []
        stack.callback(lambda: directory.write_lines("samples.jsonl", _render_samples(samples)))
        result = migrate_sides(source, destination, pair.destination.address, case.settings, loop, samples.append)
        watch.begin("ask after")
        passage = examine(source, destination, result, before, case.settings, pair.keys)
        watch.begin("release")
        return passage


def _render_samples(samples: Sequence[Sample]) -> Iterator[Mapping[str, Any]]:
    for sample in list(samples):
        yield {"at_ns": sample.at_ns, "query-migrate": dict(sample.reply)}


def _keep_evidence(side: Side, directory: RepeatDirectory) -> None:
    """All that one side left, into the repeat's directory; never stands in the way of release."""
    name = side.guest.side
    try:
        evidence = side.guest.collect_evidence()
        directory.write_text(f"{name}.command", evidence.command + "\n")
        directory.write_text(f"{name}.console", evidence.console)
        directory.write_text(f"{name}.trace", evidence.log)
        directory.write_text(f"{name}.stderr", evidence.stderr)
        directory.write_lines(f"{name}.qmp.jsonl", _transcript(side.guest.qmp))
        directory.write_lines(f"{name}.events.jsonl", _events(side.guest.qmp))
    except Exception as error:
        LOG.debug("evidence of %s: %s", name, error)
        say(f"not all evidence of the {name} could be kept: {error}")


def _transcript(qmp: QmpSession) -> Iterator[Mapping[str, Any]]:
    for line in list(qmp.transcript):
        yield {"at_ns": line.at_ns, line.direction: dict(line.message)}


def _events(qmp: QmpSession) -> Iterator[Mapping[str, Any]]:
    for event in list(qmp.events):
        yield {"arrived_ns": event.arrived_ns, "qemu_ns": event.qemu_ns, "event": event.name, "data": dict(event.data)}

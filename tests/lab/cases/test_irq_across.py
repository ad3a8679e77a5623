# SPDX-License-Identifier: GPL-2.0-or-later
"""IRQ threads of the passed-through device, before, through and after a migration."""

from tests.lab.case_runner import CaseRunner

from switchover import DeviceSpec, GuestSpec, Knobs, VerdictName, build_case


def test_interrupts_keep_their_cpus_and_threads_stay_with_them(run_case: CaseRunner) -> None:
    """Two vectors on two vCPUs, a FIFO 40 task on one of them all the time: masks, effective CPUs and threads are kept,
    every activation is local on both sides and through the migration, and a mask that changes on the destination takes
    effect with one remote activation.
    """
    device = DeviceSpec(knobs=Knobs(irq_rates=(50, 50)))
    case = build_case(
        "irq", guest=GuestSpec(vcpus=2), device=device, irq_seconds=1.0, irq_load="fifo-40", heartbeat_us=0
    )
    record = run_case(case)
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    labels = [check.label for check in record.checks if check.id.startswith("irq.") and check.passed]
    assert len(set(labels)) == 13, labels
    assert record.failed_checks == ()
    assert record.check("device.interrupts-at-a-rate").passed
    assert record.check("irq.effective-affinity").observed.count(": ") == 2
    for place in ("source", "through", "destination"):
        assert record.measured(f"irq.local.{place}") == 100
        assert (run_case.directory / f"irq-{place}.trace.gz").exists()

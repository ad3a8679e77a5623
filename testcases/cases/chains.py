# SPDX-License-Identifier: GPL-2.0-or-later
"""One guest and several migrations: what no single migration shows."""

from switchover import MIB, Action, Context, DeviceSpec, Expectation, Fault, Knobs, Phase, VerdictName, build_case, case

SMALL = DeviceSpec(knobs=Knobs(initial_bytes=4 * MIB, stop_copy_bytes=1 * MIB))


@case(tags=["chain", "pre-copy"], seconds=30, hops=[2, 5])
def there_and_back(context: Context, hops: int) -> None:
    """A guest that migrates to and fro stays the same boot, and its device counts every load."""
    wanted = build_case("hop", device=SMALL, heartbeat_us=0)
    with context.testbed.start_guest(wanted) as guest:
        here = guest.host
        for _ in range(hops):
            context.require(guest.migrate())
        context.check("migrations", hops, guest.migrations)
        context.check("host", hops % 2 == 0, guest.host == here, claim="it is where it began after an even number")


@case(tags=["chain", "reboot"], seconds=40)
def reboots_in_between(context: Context) -> None:
    """A guest that reboots on the destination takes its device anew, and migrates back."""
    with context.testbed.start_guest(build_case("hop", device=SMALL, heartbeat_us=0)) as guest:
        first = guest.run(["cat", "/proc/sys/kernel/random/boot_id"]).text
        context.require(guest.migrate())
        guest.reboot()
        second = guest.run(["cat", "/proc/sys/kernel/random/boot_id"]).text
        context.check("boots", False, first == second, claim="after a reboot it is another boot")
        context.require(guest.migrate())
        context.check("migrations", 2, guest.migrations)


@case(tags=["chain", "cancel"], seconds=25)
def cancelled_and_tried_again(context: Context) -> None:
    """A migration that is cancelled leaves the guest and its connections as they were; the next one completes."""
    cancel = build_case(
        "cancelled",
        device=DeviceSpec(knobs=Knobs(initial_bytes=32 * MIB, save_bytes_per_sec=16 * MIB)),
        faults=[Fault(Action.CANCEL, Phase.DEVICE_PRE_COPY)],
        heartbeat_us=0,
    )
    with context.testbed.start_guest(cancel) as guest:
        guest.run(["sh", "-c", "echo here >/tmp/mark"])
        context.require(guest.migrate())
        context.check("cancelled", 0, guest.migrations)
        context.require(guest.migrate(build_case("again", device=cancel.source.devices, heartbeat_us=0)))
        context.check("mark", "here", guest.run(["cat", "/tmp/mark"]).text.strip())


@case(tags=["chain", "fault"], seconds=25)
def destination_dies_and_another_takes_the_guest(context: Context) -> None:
    """A destination that is killed in stop-copy does not take the guest with it: it goes to a new one."""
    killed = build_case(
        "killed",
        device=DeviceSpec(knobs=Knobs(initial_bytes=16 * MIB, save_bytes_per_sec=16 * MIB, pre_copy=False)),
        faults=[Fault(Action.KILL_DESTINATION, Phase.DEVICE_STOP_COPY)],
        heartbeat_us=0,
    )
    with context.testbed.start_guest(killed) as guest:
        context.require(guest.migrate())
        context.require(guest.migrate(build_case("again", device=killed.source.devices, heartbeat_us=0)))
        context.check("migrations", 1, guest.migrations)


@case(tags=["chain", "refused"], seconds=20)
def refused_destination_costs_nothing(context: Context) -> None:
    """A destination whose QEMU refuses its device leaves the source alone, which migrates to a right one after that."""
    wrong = DeviceSpec(knobs=SMALL.knobs, properties={"x-no-such-property": "on"})
    refused = build_case(
        "refused",
        device=SMALL,
        destination_device=wrong,
        expectation=Expectation(VerdictName.REFUSED, reason="x-no-such-property"),
        heartbeat_us=0,
    )
    with context.testbed.start_guest(refused) as guest:
        context.require(guest.migrate())
        context.require(guest.migrate(build_case("right", device=SMALL, heartbeat_us=0)))

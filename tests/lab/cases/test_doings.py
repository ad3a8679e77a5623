# SPDX-License-Identifier: GPL-2.0-or-later
"""What guest, device and network do meanwhile: each case of these scenarios ends as expected, and the guest lives on.

Cases by QMP share a guest where they can. Those that are like their neighbours are left to ``switchover run``.
"""

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.standard import load_quiet
from tests.lab.verdicts import require_right

LEFT_OUT = (
    "resets: fault.action=reset-device,phase=before",
    "resets: fault.action=reset-device,phase=active",
    "resets: fault.action=reset-device,phase=after-a-second",
    "resets: fault.action=reboot-guest,phase=after-a-second",
    "resets: fault.action=reboot-guest,phase=without-pre-copy",
    "resets: fault.action=reboot-guest,phase=device-pre-copy",
    "unplug-and-plug: driver=qmp,device=with-migration",
    "unplug-and-plug: driver=libvirt,device=with-migration",
    "unplugged-and-cancelled: driver=libvirt",
    "unplug-while-migrating: phase=active",
    "unplug-while-migrating: phase=pre-switchover",
    "unplug-while-migrating: phase=device-stop-copy",
    "suspended-guest: fault.phase=active",
    "suspended-guest: fault.phase=device-pre-copy",
    "link-back: cut=five-seconds-in-active",
    "link-back: cut=three-seconds-after-a-second",
)
CASES = {
    identity: case
    for identity, case in load_quiet(
        "resets",
        "unplug-and-plug",
        "unplugged-and-cancelled",
        "unplug-while-migrating",
        "suspended-guest",
        "link-back",
    ).items()
    if identity not in LEFT_OUT
}


@pytest.mark.parametrize("identity", CASES)
def test_doing(run_case: CaseRunner, identity: str) -> None:
    """What was to happen has happened, by whoever did it and by what it left; the verdict is the expected one, for the
    expected reason; there is one guest, in order, with the devices that it is to have.
    """
    require_right(CASES[identity], run_case(CASES[identity]))

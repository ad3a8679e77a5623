# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases that stay in a guest, so that tests can take the host away from under it."""

from switchover import Context, build_case, case


@case(tags=["stays"], timeout_s=900)
def stays_in_a_guest(context: Context) -> None:
    """Sleeps in a guest for longer than any test waits."""
    with context.testbed.start_guest(build_case("stays")) as guest:
        (context.directory / "started").touch()
        guest.run(["sleep", "800"], timeout=800)

# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover-host-setup`` on files in place of sysfs: no kernel answers here, they stay as they are written."""

import os
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[3] / "ansible" / "roles" / "switchover_host" / "files" / "switchover-host-setup"
PF = "0000:3b:00.0"
VF = "0000:3b:00.2"


class Sysfs:
    """A physical function with SR-IOV, and a virtual function that has a driver."""

    def __init__(self, directory: Path, count: int, driver: str) -> None:
        self.root = directory / "sys"
        self.configuration = directory / "host.conf"
        self.pf, self.vf = (self.root / "bus" / "pci" / "devices" / name for name in (PF, VF))
        for path in (self.pf, self.vf, self.root / "bus" / "pci" / "drivers" / driver):
            path.mkdir(parents=True)
        (self.pf / "sriov_numvfs").write_text(f"{count}\n")
        (self.pf / "sriov_drivers_autoprobe").write_text("1\n")
        (self.pf / "virtfn0").symlink_to(f"../{VF}")
        (self.vf / "driver").symlink_to(self.root / "bus" / "pci" / "drivers" / driver)

    def set_up(self, configuration: str, *options: str) -> subprocess.CompletedProcess[str]:
        self.configuration.write_text(configuration)
        env = {**os.environ, "SWITCHOVER_SYS": str(self.root), "SWITCHOVER_HOST_CONF": str(self.configuration)}
        return subprocess.run([SETUP, *options], env=env, capture_output=True, text=True, check=False)


def test_nothing_to_do_says_nothing(tmp_path: Path) -> None:
    """As many functions as asked for, with the driver asked for: no word and no file changed."""
    sysfs = Sysfs(tmp_path, 1, "mlx5_vfio_pci")
    done = sysfs.set_up(f"VIRTUAL_FUNCTIONS=({PF} 1 mlx5_vfio_pci 'exit 7')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (sysfs.pf / "sriov_drivers_autoprobe").read_text() == "1\n"


def test_functions_are_made_without_a_driver_and_prepared(tmp_path: Path) -> None:
    """The kernel is told not to bind them, then to make them; what prepares them knows the physical function."""
    sysfs = Sysfs(tmp_path, 0, "mlx5_vfio_pci")
    done = sysfs.set_up(f"VIRTUAL_FUNCTIONS=({PF} 1 mlx5_vfio_pci 'echo $PF >{tmp_path}/prepared')")
    assert (done.returncode, done.stdout) == (0, f"{PF}: 1 virtual functions\n"), done.stderr
    assert (sysfs.pf / "sriov_numvfs").read_text() == "1\n"
    assert (sysfs.pf / "sriov_drivers_autoprobe").read_text() == "0\n"
    assert (tmp_path / "prepared").read_text() == f"{PF}\n"


def test_another_number_of_functions_is_refused(tmp_path: Path) -> None:
    """Functions that are there may be in guests: they are not taken away."""
    sysfs = Sysfs(tmp_path, 2, "vfio-pci")
    done = sysfs.set_up(f"VIRTUAL_FUNCTIONS=({PF} 4 vfio-pci '')")
    assert done.returncode == 1
    assert f"{PF} has 2 virtual functions and shall have 4" in done.stderr
    assert (sysfs.pf / "sriov_numvfs").read_text() == "2\n"


@pytest.mark.parametrize("what", [f"VIRTUAL_FUNCTIONS=({PF} 1 vfio-pci '')", f"FUNCTIONS=({VF} vfio-pci)"])
def test_a_check_tells_a_wrong_driver_and_changes_nothing(tmp_path: Path, what: str) -> None:
    """``--check`` fails with the line that a change would say."""
    sysfs = Sysfs(tmp_path, 1, "mlx5_core")
    done = sysfs.set_up(what, "--check")
    assert (done.returncode, done.stdout) == (1, f"{VF}: driver vfio-pci\n"), done.stderr
    assert not (sysfs.vf / "driver_override").exists()


def test_a_check_makes_no_functions(tmp_path: Path) -> None:
    """``--check`` fails with the line that a change would say, and the kernel is told nothing."""
    sysfs = Sysfs(tmp_path, 0, "vfio-pci")
    done = sysfs.set_up(f"VIRTUAL_FUNCTIONS=({PF} 1 vfio-pci '')", "--check")
    assert (done.returncode, done.stdout) == (1, f"{PF}: 1 virtual functions\n"), done.stderr
    assert (sysfs.pf / "sriov_numvfs").read_text() == "0\n"


def test_a_function_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = Sysfs(tmp_path, 1, "vfio-pci").set_up("FUNCTIONS=(0000:99:00.0 vfio-pci)")
    assert (done.returncode, done.stderr) == (1, "switchover-host-setup: there is no PCI function 0000:99:00.0\n")

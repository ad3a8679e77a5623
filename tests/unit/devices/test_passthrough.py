# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI functions given to VFIO and back: what is done in which order, and what is never done."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.unit.builders import DATA
from tests.unit.fakes import FaultyHost

from switchover.devices.binding import FunctionRequest
from switchover.devices.passthrough import start_function, start_virtual_functions
from switchover.record.errors import CommandFailed, NotReady
from switchover.record.paths import journals_directory

SYSFS = (DATA / "sysfs.txt").read_text()
PHYSICAL, VIRTUAL, GPU = "0000:3b:00.0", "0000:3b:00.2", "0000:5e:00.0"
# the same host before somebody made its virtual function
WITHOUT_VIRTUAL = "".join(
    f"{line}\n" for line in SYSFS.replace("sriov_numvfs:1", "sriov_numvfs:0").splitlines() if VIRTUAL not in line
)
FLAGS = {VIRTUAL: "flags 7 1", PHYSICAL: "flags 0 0", GPU: "flags 0 0"}


def label(method: str, argument: str) -> str:
    words = {
        "pkill": "undo as after a death",
        "mdev_bus": "look",
        "modules.alias": "read aliases",
        "mountinfo": "look who uses it",
        "VFIO_GROUP_GET_STATUS": "ask",
        "drivers_probe": "bind",
        "|| status=$?": "make",
        'echo "$3" >driver_override': "give back",
        "echo 0 >sriov_numvfs": "remove",
    }
    return next(name for word, name in words.items() if word in argument)


def answer(sysfs: str, uses: str = "", flags: dict[str, str] | None = None) -> Callable[[Sequence[str]], bytes]:
    def outputs(argv: Sequence[str]) -> bytes:
        match label("run", " ".join(argv)):
            case "look":
                return sysfs.encode()
            case "look who uses it":
                return uses.encode()
            case "ask":
                return f"{argv[3]} {(flags or FLAGS)[argv[3]]}\n".encode()
        return b""

    return outputs


def make_host(sysfs: str = SYSFS, **others: Any) -> FaultyHost:
    return FaultyHost(label, "", outputs=answer(sysfs, **others))


def list_open_changes() -> list[str]:
    """What journals say while a change lasts."""
    (path,) = journals_directory().glob("*.jsonl")
    return [json.loads(line)["what"] for line in path.read_text().splitlines() if '"change"' in line]


def test_a_function_is_bound_and_given_back() -> None:
    """What is looked at comes first, the journal before the change; the driver and its flags are what is passed on."""
    host = make_host()
    with start_function(host, FunctionRequest(VIRTUAL, driver="vfio-pci")) as passed:
        assert list_open_changes() == [f"driver vfio-pci of {VIRTUAL}, which had mlx5_vfio_pci"]
        assert passed.sysfs == f"/sys/bus/pci/devices/{VIRTUAL}"
        assert passed.describe()["migration"] == {"flags": 7, "logs_dma": True, "why": "", "in_use": False}
        host.log.append("in use")
    assert host.log == ["look", "ask", "look who uses it", "bind", "look", "ask", "in use", "give back"]
    assert not list(journals_directory().glob("*.jsonl"))


def test_a_function_that_is_bound_already_is_only_asked() -> None:
    """Somebody else bound it: it is not taken from its driver, neither before nor after."""
    host = make_host()
    with start_function(host, FunctionRequest(PHYSICAL, vf=0, driver="mlx5_vfio_pci")) as passed:
        assert passed.function.address == VIRTUAL
    assert set(host.log) == {"look", "ask"}


@pytest.mark.parametrize("driver", ["vfio-pci", "mlx5_vfio_pci"])
def test_a_function_that_libvirt_binds_is_given_back(driver: str) -> None:
    """It keeps its driver, and is in the journal all the same, whatever driver it has: libvirt may not give it back."""
    host = make_host()
    with start_function(host, FunctionRequest(VIRTUAL, driver=driver, managed=True)) as passed:
        assert list_open_changes() == [f"driver {driver} of {VIRTUAL}, which had mlx5_vfio_pci"]
        assert passed.function.driver == "mlx5_vfio_pci"
    assert "bind" not in host.log
    assert host.log[-1] == "give back"


def test_a_whole_group_is_given_back_last_first() -> None:
    """The function itself comes to VFIO last and leaves it first."""
    host = make_host(SYSFS.replace(f"{GPU}/driver -> ../../../../bus/pci/drivers/vfio-pci", f"{GPU}/x -> y"))
    with start_function(host, FunctionRequest(GPU, driver="vfio-pci", whole_group=True)):
        changes = list_open_changes()
    assert [change.split()[3] for change in changes] == ["0000:5e:00.1,", f"{GPU},"]
    assert host.log.count("bind") == host.log.count("give back") == 2


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"uses": f"{VIRTUAL}: its interface eth0 has an address\n"}, "eth0 has an address"),
        ({"flags": {VIRTUAL: "in-use"}}, "somebody has the IOMMU group 101 open"),
    ],
)
def test_what_is_in_use_is_not_taken(others: dict[str, Any], words: str) -> None:
    """Neither from the host itself nor from another guest; nothing was changed then."""
    host = make_host(**others)
    with (
        pytest.raises(NotReady) as caught,
        start_function(host, FunctionRequest(VIRTUAL, driver="vfio-pci")),
    ):
        raise AssertionError("it was passed on")
    assert words in caught.value.why
    assert caught.value.fix
    assert "bind" not in host.log


def test_a_driver_that_does_not_take_it() -> None:
    """The host's words are the reason, and what was half done is given back."""
    host = make_host()
    host.fail_at, host.error = 3, CommandFailed("On fake, a command exited with 1", why="vfio-pci did not take it")
    with pytest.raises(NotReady) as caught, start_function(host, FunctionRequest(VIRTUAL, driver="vfio-pci")):
        raise AssertionError("it was passed on")
    assert (caught.value.what, caught.value.why) == (
        f"{VIRTUAL} of fake cannot be given to vfio-pci.",
        "vfio-pci did not take it",
    )
    assert host.log[-2:] == ["bind", "give back"]


def test_an_error_meanwhile_is_not_taken_for_one_of_ours() -> None:
    """What a command of the block ended with is raised as it is."""
    host = make_host()
    with (
        pytest.raises(CommandFailed, match="something else"),
        start_function(host, FunctionRequest(VIRTUAL, driver="vfio-pci")),
    ):
        raise CommandFailed("something else")
    assert host.log[-1] == "give back"


def test_virtual_functions_last_as_long_as_the_block() -> None:
    """They are made before the block and gone after it; where none are asked for, the host is not even looked at."""
    host = make_host(WITHOUT_VIRTUAL)
    with start_virtual_functions(host, [FunctionRequest(PHYSICAL, vf=1)]):
        assert list_open_changes() == [f"2 virtual functions of {PHYSICAL}"]
    assert host.log == ["look", "make", "remove"]
    host = make_host()
    with start_virtual_functions(host, [FunctionRequest(VIRTUAL)]):
        pass
    assert host.log == []

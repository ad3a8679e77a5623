# SPDX-License-Identifier: GPL-2.0-or-later
"""The example of two inventories: what is in both is the same in both."""

import re
from pathlib import Path

from switchover.hosts.inventory import load_inventory

EXAMPLE = Path(__file__).parents[3] / "ansible" / "inventory"


def test_both_inventories_name_the_same_hosts() -> None:
    """The harness reads its example; Ansible's has its hosts, in its order, with the same addresses and ports."""
    inventory = load_inventory(EXAMPLE / "inventory.toml")
    text = (EXAMPLE / "hosts.yml").read_text()
    found = {}
    for block in re.split(r"\n    (?=\w+:\n)", text.partition("  hosts:")[2].partition("\n  vars:")[0])[1:]:
        name, values = block.split(":", 1)[0], dict(re.findall(r"^      (\w+): (\S+)$", block, re.MULTILINE))
        bridge = values["switchover_host_bridge_address"].partition("/")[0]
        found[name] = (values["ansible_host"], values.get("ansible_port", "22"), bridge)
    assert found == {
        name: (entry.address, str(entry.port), entry.migration_address) for name, entry in inventory.host.items()
    }
    of_all = dict(re.findall(r"^    (\w+): (\S+)$", text, re.MULTILINE))
    for entry in inventory.host.values():
        assert (entry.user, entry.key) == (of_all["ansible_user"], of_all["ansible_ssh_private_key_file"])

# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab in a box: images built once, and VMs that serve as hosts."""

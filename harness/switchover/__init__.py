# SPDX-License-Identifier: GPL-2.0-or-later
"""Switchover: a test harness for live migration of QEMU/KVM guests with VFIO devices."""

__version__ = "0.1.0"

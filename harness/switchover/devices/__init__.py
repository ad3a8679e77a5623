# SPDX-License-Identifier: GPL-2.0-or-later
"""VFIO devices: mediated devices and the project's reference device."""

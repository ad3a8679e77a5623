# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of the guest image that make loads and interrupts. Each is one task, which traces know by the same name."""

HOG = "switchover-hog"
"""images/guest/hog.c"""
GPIO = "switchover-gpio"
"""images/guest/gpio.c"""

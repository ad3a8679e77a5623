# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests: what they are made of, the QEMU that runs them, their console and their SSH."""

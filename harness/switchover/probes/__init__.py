# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured besides, behind one protocol: heartbeats from outside, IRQ threads."""

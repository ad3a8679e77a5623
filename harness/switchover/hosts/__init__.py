# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that can run guests, and the one place that starts processes on them."""

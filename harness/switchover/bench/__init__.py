# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures of the harness itself, never a verdict on speed: a module for each kind, with ``run(arguments, scratch)``."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the formats of other systems: a file for each format, found by the table (docs/exports.md)."""

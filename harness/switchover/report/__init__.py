# SPDX-License-Identifier: GPL-2.0-or-later
"""Presentation of records, from a run directory alone."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""Execution of cases: guests started, migrated, checked, judged, recorded, released."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""The gate: whether numbers have become worse than a baseline by more than a bound (docs/gate.md)."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of many runs: kept, and told when they changed (docs/history.md)."""

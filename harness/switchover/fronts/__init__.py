# SPDX-License-Identifier: GPL-2.0-or-later
"""Other people's test runners: how they find, run and report the cases of the catalogue."""

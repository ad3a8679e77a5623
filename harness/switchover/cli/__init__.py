# SPDX-License-Identifier: GPL-2.0-or-later
"""One file per verb: reads arguments, calls down, prints."""

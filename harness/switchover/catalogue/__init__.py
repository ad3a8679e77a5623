# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue: cases of scenario files and cases written in Python, under one kind of id, for all fronts."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""Test runners of others, and people's own tests, as ways to the catalogue, each thin: ids, outcomes and records are
the same in all of them.
"""

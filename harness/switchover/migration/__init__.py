# SPDX-License-Identifier: GPL-2.0-or-later
"""A live migration: its settings, its order, and what its events, samples and traces mean."""

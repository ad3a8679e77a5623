# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of the unit tier."""

from hypothesis import settings

# no deadline: a busy machine is no failure; no database: nothing is written into the checkout
settings.register_profile("unit", deadline=None, max_examples=40, database=None)
settings.load_profile("unit")

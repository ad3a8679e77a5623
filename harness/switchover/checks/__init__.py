# SPDX-License-Identifier: GPL-2.0-or-later
"""What is claimed of a migration that ended: each check with its id, its claim, and what it needs. Pure."""

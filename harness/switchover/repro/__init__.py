# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh``, a script that repeats a case without the harness, and what it is made of. Pure."""

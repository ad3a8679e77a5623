# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be done: scenario files, the cases they become, what is expected of each, plans and scripts. Pure."""

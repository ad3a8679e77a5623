# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the threads of threaded interrupts run: recorded with tracefs alone, joined to activations, explained."""

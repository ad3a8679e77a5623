# SPDX-License-Identifier: GPL-2.0-or-later
"""Values every room shares: errors, log, measurements, the record and the run directory."""

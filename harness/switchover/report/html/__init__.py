# SPDX-License-Identifier: GPL-2.0-or-later
"""``report.html``: a run as one page that needs no other file and no network (docs/html.md)."""

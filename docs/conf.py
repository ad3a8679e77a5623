# SPDX-License-Identifier: GPL-2.0-or-later
"""The documentation as a site: ``tox -e docs``. Markdown that also reads well where it lies; a warning is an error."""

project = "Switchover"
extensions = ["myst_parser"]
html_theme = "alabaster"
html_title = project
html_copy_source = False
html_show_copyright = False

# a link to the heading of another page is checked against these, made as forges make them
myst_heading_anchors = 4
nitpicky = True

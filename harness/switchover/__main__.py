# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m switchover``."""

import sys

from switchover.cli.main import main

sys.exit(main())

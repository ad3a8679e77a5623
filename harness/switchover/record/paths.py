# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things live on the controller: data shipped with the package, cache, state and run directories."""

from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent.parent


def data_directory(name: str) -> Path:
    """A folder that ships with the project (``images``, ``testcases``), from the wheel or from the checkout."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent.parent / name


def cache_directory() -> Path:
    """Images and what was probed: large, can be deleted at any time (``XDG_CACHE_HOME``)."""
    return platformdirs.user_cache_path("switchover", appauthor=False)


def state_directory() -> Path:
    """Labs that run, journals and run directories (``XDG_STATE_HOME``)."""
    return platformdirs.user_state_path("switchover", appauthor=False)


def labs_directory() -> Path:
    return state_directory() / "labs"


def journals_directory() -> Path:
    """Journals of changes to hosts: a file while something is changed there."""
    return state_directory() / "journals"


def leases_directory() -> Path:
    """Who has which host: a file for each resource that is leased, locked as long as it is."""
    return state_directory() / "leases"


def history_file() -> Path:
    """Numbers of all runs, beside these."""
    return state_directory() / "history.sqlite"


def runs_directory() -> Path:
    return state_directory() / "runs"

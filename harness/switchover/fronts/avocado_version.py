# SPDX-License-Identifier: GPL-2.0-or-later
"""Which avocado these plugins are for. Imports nothing of avocado or of ours: it is asked before anything else."""

from importlib.metadata import PackageNotFoundError, version

RELEASE = 113
"""Of avocado; what is used of it has changed from release to release."""
SETUPTOOLS_BELOW = 82
"""setuptools 82 is without pkg_resources, which avocado 113 imports and does not say so."""
FIX = f'pip install "avocado-framework>={RELEASE},<{RELEASE + 1}" "setuptools<{SETUPTOOLS_BELOW}"'


def find_misfit() -> str:
    """Why these plugins cannot be used in this environment, with what to do; empty if they can."""
    avocado, setuptools = _find_version("avocado-framework"), _find_version("setuptools")
    if _first(avocado) != RELEASE:
        what = f"is for avocado {RELEASE}, and this is {avocado}" if avocado else f"needs avocado {RELEASE}"
    elif not 0 <= _first(setuptools) < SETUPTOOLS_BELOW:
        what = f"needs setuptools below {SETUPTOOLS_BELOW} for avocado {RELEASE}, and this is {setuptools or 'none'}"
    else:
        return ""
    return f"switchover {what}.\n  fix: {FIX}"


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _first(words: str) -> int:
    word = words.partition(".")[0]
    return int(word) if word.isdigit() else -1

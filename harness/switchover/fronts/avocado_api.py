# SPDX-License-Identifier: GPL-2.0-or-later
"""All that these plugins use of avocado, in one place: a release that has something else is told from a bug."""

from switchover.fronts.avocado_version import find_misfit

try:
    from avocado.core.extension_manager import PluginPriority
    from avocado.core.nrunner.app import BaseRunnerApp
    from avocado.core.nrunner.runnable import CONFIGURATION_USED as EVERY_RUNNER_USES
    from avocado.core.nrunner.runnable import Runnable
    from avocado.core.nrunner.runner import BaseRunner
    from avocado.core.nrunner.task import TaskStatusService
    from avocado.core.plugin_interfaces import Init, JobPost, JobPre, Resolver
    from avocado.core.resolver import ReferenceResolution, ReferenceResolutionResult
    from avocado.core.settings import settings
    from avocado.core.utils.messages import (
        FileMessage,
        FinishedMessage,
        LogMessage,
        RunningMessage,
        StartedMessage,
        StderrMessage,
        WhiteboardMessage,
    )
except ImportError as error:
    raise ImportError(find_misfit() or str(error)) from error

__all__ = [
    "EVERY_RUNNER_USES",
    "BaseRunner",
    "BaseRunnerApp",
    "FileMessage",
    "FinishedMessage",
    "Init",
    "JobPost",
    "JobPre",
    "LogMessage",
    "PluginPriority",
    "ReferenceResolution",
    "ReferenceResolutionResult",
    "Resolver",
    "Runnable",
    "RunningMessage",
    "StartedMessage",
    "StderrMessage",
    "TaskStatusService",
    "WhiteboardMessage",
    "settings",
]

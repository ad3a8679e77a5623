# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases written in Python: functions with typed parameters, and a context before them."""

import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from switchover.catalogue.case import TIMEOUT_S, CatalogueCase, Needs
from switchover.record.errors import UsageError
from switchover.scenarios.ids import make_ids, make_word, spell_id

Function = Callable[..., None]
PYTHON_TAG = "python"
_MARK = "__switchover_case__"


@dataclass(frozen=True)
class _Mark:
    tags: frozenset[str]
    needs: Needs
    timeout_s: float
    seconds: float
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def case(
    *,
    tags: Sequence[str] = (),
    needs: Needs | None = None,
    timeout_s: float = TIMEOUT_S,
    seconds: float = 0.0,
    **axes: Sequence[Any],
) -> Callable[[Function], Function]:
    """Makes a function a case of the catalogue, or several: one for each combination of the values of ``axes``.

    The function's first parameter is the context; the others are named as the axes are, and typed; those that are no
    axis need a default. Its name, with ``-`` for ``_``, is what ids begin with; the first line of its docstring is the
    title. ``timeout_s``, ``seconds``: after which it is ended, and which it takes, seconds.

    The function is called with the context, and claims something by returning; see :mod:`switchover.catalogue.context`.
    """

    def mark(function: Function) -> Function:
        setattr(function, _MARK, _Mark(frozenset(tags), needs or Needs(), timeout_s, seconds, dict(axes)))
        return function

    return mark


def load_python_cases(path: Path) -> list[CatalogueCase]:
    """Cases of a file. :raises UsageError: it cannot be imported, or a function and its axes do not fit each other"""
    module = _import(path)
    found: list[CatalogueCase] = []
    for function in vars(module).values():
        mark = getattr(function, _MARK, None)
        if isinstance(mark, _Mark) and function.__module__ == module.__name__:
            found += _list_cases(function, mark, path)
    if not found:
        raise UsageError(f"{path} holds no case.", fix="decorate a function with @switchover.case()")
    return found


def _import(path: Path) -> ModuleType:
    name = f"switchover_cases_{path.resolve().as_posix().replace('/', '_').replace('.', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{path} cannot be imported.", why=f"{type(error).__name__}: {error}") from error
    return module


def _list_cases(function: Function, mark: _Mark, path: Path) -> Iterator[CatalogueCase]:
    place = f"{path}:{function.__code__.co_firstlineno}"
    _check(function, mark, place)
    group = spell_id([function.__name__.strip("_").replace("_", "-")])
    defaults = {
        name: parameter.default
        for name, parameter in list(inspect.signature(function).parameters.items())[1:]
        if parameter.default is not inspect.Parameter.empty
    }
    points = [dict(zip(mark.axes, values, strict=True)) for values in itertools.product(*mark.axes.values())]
    words = [{name: make_word(value) for name, value in point.items() if len(mark.axes[name]) > 1} for point in points]
    title = (inspect.getdoc(function) or group).splitlines()[0]
    for identity, point in zip(make_ids(group, words), points, strict=True):
        yield CatalogueCase(
            identity,
            group,
            title,
            place,
            mark.tags | {PYTHON_TAG},
            mark.needs,
            mark.timeout_s,
            mark.seconds,
            parameters=defaults | point,
            function=function,
            source=path,
        )


def _check(function: Function, mark: _Mark, place: str) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise UsageError(
            f"{place}: {function.__name__} does not take the context as its first parameter.",
            fix=f"def {function.__name__}(context): …",
        )
    names = {parameter.name for parameter in parameters[1:]}
    if unknown := set(mark.axes) - names:
        raise UsageError(f"{place}: {function.__name__} has no parameter for the axis {sorted(unknown)[0]!r}.")
    needed = {parameter.name for parameter in parameters[1:] if parameter.default is inspect.Parameter.empty}
    if lacking := needed - set(mark.axes):
        raise UsageError(
            f"{place}: the parameter {sorted(lacking)[0]!r} of {function.__name__} has neither an axis nor a default."
        )
    if empty := [name for name, values in mark.axes.items() if not values]:
        raise UsageError(f"{place}: the axis {empty[0]!r} of {function.__name__} has no value.")


def read_parameter(case: CatalogueCase, name: str, word: str) -> Any:
    """A word of somebody else's, such as a variant of avocado's, as the function's parameter takes it.

    :raises UsageError: the function has no such parameter, or it is of another kind
    """
    if case.function is None or name not in case.parameters:
        known = ", ".join(case.parameters)
        raise UsageError(f"The case {case.id} has no parameter {name!r}.", why=f"it has: {known or 'none'}")
    kind = type(case.parameters[name])
    if kind is bool:
        if word.lower() not in _BOOLEANS:
            raise UsageError(f"{name} of {case.id} is on or off, not {word!r}.")
        return _BOOLEANS[word.lower()]
    try:
        return kind(word)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} of {case.id} cannot be {word!r}.", why=str(error)) from error


_BOOLEANS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}

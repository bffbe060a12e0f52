"""What every node gets when it is found, and a new one by existing: checked inputs, a stop button.

ComfyUI checks the values of widgets; what comes through a link may be anything.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from ..utils.errors import InvalidInput
from ..utils.isolation import engine_call
from ..utils.progress import heard_by
from ..utils.text import quoted
from .node_progress import listener
from .socket_checks import SOCKETS, faces_given
from .sockets import (
    FACES_INPUT,
)

_REMEDY = "change it, or the node that is connected to it"
#: Looked up by name later on, where an error says how to get what is not there.
_LOOKED_UP = ("model_pack",)


def checked(node: type) -> type:
    """Makes the function of a node refuse what its `INPUT_TYPES` does not allow; it can be stopped.

    What the node does is kept apart from what the process is set to; see `engine_call`.

    INT, FLOAT, BOOLEAN, STRING and lists of choices are checked by what is declared; the types of
    `SOCKETS` by their own checks; others are handed on. Numbers of numpy, and whole numbers that
    came as floats, arrive as Python's own; of tracks on an input for faces, their faces. Whatever
    the function calls may say how far it is, see `utils/progress.py`: that moves the node's
    progress bar, and ends it when the user presses stop.

    Args:
        node: A node class; its method named by `FUNCTION` is replaced.

    Returns:
        The same class.
    """
    function = getattr(node, node.FUNCTION)  # pyright: ignore[reportAttributeAccessIssue]
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs)
        with engine_call(), heard_by(listener(given.arguments.get("node_id"))):
            check_inputs(type(self).INPUT_TYPES(), given.arguments)
            return function(*given.args, **given.kwargs)

    setattr(node, node.FUNCTION, run)  # pyright: ignore[reportAttributeAccessIssue]
    return node


def check_inputs(declared: dict[str, dict[str, Any]], values: dict[str, Any]) -> None:
    """Checks a node's inputs, and replaces foreign numbers by Python's own and tracks by faces.

    Args:
        declared: As `INPUT_TYPES` gives it.
        values: By the inputs' names; those that are not declared are left alone.

    Raises:
        InvalidInput: Names the first input that is not as declared, and what it may be.
    """
    for kind, may_be_none in (("required", False), ("optional", True)):
        for name, (socket, *more) in declared.get(kind, {}).items():
            if name not in values:
                continue
            options = more[0] if more else {}
            if values[name] is None and (may_be_none or options.get("lazy")):
                continue
            values[name] = _checked(name, values[name], socket, options)


def _checked(name: str, value: Any, socket: Any, options: dict[str, Any]) -> Any:
    if isinstance(socket, (list, tuple)):
        return _choice(name, value, socket)
    if socket in _WIDGETS:
        return _WIDGETS[socket](name, value, options)
    if socket == FACES_INPUT:
        value = faces_given(value)
    if socket in SOCKETS:
        SOCKETS[socket](value, name)
    return value


def _choice(name: str, value: Any, choices: list[Any] | tuple[Any, ...]) -> Any:
    known = isinstance(value, str) and (name in _LOOKED_UP or value in choices)
    if not known:
        raise _refusal(name, value, f"one of {', '.join(map(str, choices))}")
    return value


def _whole_number(name: str, value: Any, options: dict[str, Any]) -> int:
    low, high = options.get("min", -math.inf), options.get("max", math.inf)
    number = _number(value)
    if number is None or not low <= number <= high or number != int(number):
        raise _refusal(name, value, f"a whole number from {low} to {high}")
    return int(number)


def _real_number(name: str, value: Any, options: dict[str, Any]) -> float:
    low, high = options.get("min", -math.inf), options.get("max", math.inf)
    number = _number(value)
    if number is None or not low <= number <= high:  # NaN is in no range
        raise _refusal(name, value, f"a number from {low:g} to {high:g}")
    return float(number)


def _number(value: Any) -> int | float | None:
    """A finite number as Python's own; None for what is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _truth(name: str, value: Any, options: dict[str, Any]) -> bool:
    if isinstance(value, (bool, np.bool_)) or (
        isinstance(value, numbers.Integral) and value in (0, 1)
    ):
        return bool(value)
    raise _refusal(name, value, "true or false")


def _text(name: str, value: Any, options: dict[str, Any]) -> str:
    if not isinstance(value, str):
        raise _refusal(name, value, "text")
    return value


_WIDGETS: dict[str, Callable[[str, Any, dict[str, Any]], Any]] = {
    "INT": _whole_number,
    "FLOAT": _real_number,
    "BOOLEAN": _truth,
    "STRING": _text,
}


def _refusal(name: str, value: Any, expected: str) -> InvalidInput:
    return InvalidInput(f"got {name} {quoted(value)}, expected {expected}; {_REMEDY}")

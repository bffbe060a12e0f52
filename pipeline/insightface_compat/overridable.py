"""`overridable`: an attribute that is worked out, until somebody writes to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class overridable(Generic[Value]):  # noqa: N801  a decorator
    """A property that an object's users may replace by a value of their own, and delete again.

    insightface's models have plain attributes; consumers write to some of them.
    """

    def __init__(self, get: Callable[[Any], Value]) -> None:
        self._get = get
        self.__doc__ = get.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> overridable[Value]: ...

    @overload
    def __get__(self, owner: object, kind: type) -> Value: ...

    def __get__(self, owner: object | None, kind: type) -> Any:
        # Without a `__set__` what is written goes to the object, and is found there first.
        return self if owner is None else self._get(owner)

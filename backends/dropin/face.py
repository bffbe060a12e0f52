"""`Face`: the dict that InsightFace's consumers read, with fields worked out when first read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from ...utils.errors import InvalidInput


class FieldSource(Protocol):
    """Where a face's unread fields come from."""

    def read(self, row: int, key: str) -> Mapping[str, Any]:
        """The value of `key`, and of whatever came with it, for one face."""
        ...


class _Pending:
    """Marks a field that has not been worked out yet."""

    def __repr__(self) -> str:
        return "<not read yet>"


_PENDING = _Pending()


class Face(dict):
    """One face, as `insightface.app.common.Face`: `face["x"]` and `face.x` are the same.

    A missing attribute reads None. Fields that need another network (embedding, dense landmarks,
    age) are worked out the first time something reads them, by whatever way: item, attribute,
    `get`, `items`, `copy`, `pickle`, `dict(face)`.

    All values are CPU numpy float32: `bbox` (4,), `kps` (5, 2), `det_score`, `embedding` (D,) not
    normalised, `landmark_2d_106`, `landmark_3d_68`, `pose` (pitch, yaw, roll in degrees), `gender`
    and `age` as integers.
    """

    def __init__(self, d: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_unread", None)
        object.__setattr__(self, "_refused", {})
        for key, value in {**(d or {}), **kwargs}.items():
            self[key] = value

    def expect(self, keys: Iterable[str], source: FieldSource, row: int) -> None:
        """Announces fields that `source` works out when they are read."""
        object.__setattr__(self, "_unread", (source, row))
        for key in keys:
            super().__setitem__(key, _PENDING)

    def refuse(self, key: str, reason: str) -> None:
        """Makes reading a field that isn't there an error instead of None."""
        self._refused[key] = reason

    # Reading -----------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if key in self._refused:
            raise InvalidInput(self._refused[key])
        value = super().__getitem__(key)
        if value is _PENDING:
            self._read(key)
            value = super().__getitem__(key)
        return value

    def _read(self, key: str) -> None:
        unread = self._unread
        if unread is None:
            return  # another thread has read the last field meanwhile
        source, row = unread
        for name, result in source.read(row, key).items():
            if super().get(name) is _PENDING:
                super().__setitem__(name, result)
        if all(value is not _PENDING for value in super().values()):
            # The source holds the picture: faces that are kept must not keep pictures.
            object.__setattr__(self, "_unread", None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Protocols such as copy and numpy probe for these; None would be taken for a method.
            raise AttributeError(name)
        return self.get(name)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self or key in self._refused else default

    def items(self) -> Any:
        return self._resolved().items()

    def values(self) -> Any:
        return self._resolved().values()

    def copy(self) -> dict[str, Any]:
        """A plain dict, as upstream's."""
        return self._resolved()

    def _resolved(self) -> dict[str, Any]:
        return {key: self[key] for key in self}

    def __iter__(self) -> Iterator[str]:
        # Overriding this makes dict(face) and {**face} ask __getitem__ instead of copying markers.
        return super().__iter__()

    def __eq__(self, other: object) -> bool:
        return self._resolved() == (other._resolved() if isinstance(other, Face) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Any) -> Any:
        return self._resolved() | other

    def __repr__(self) -> str:
        return dict.__repr__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._resolved(),), {"_refused": dict(self._refused)})

    # Writing -----------------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            value = [Face(item) if isinstance(item, dict) else item for item in value]
        elif isinstance(value, dict) and not isinstance(value, Face):
            value = Face(value)
        self._refused.pop(key, None)
        super().__setitem__(key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(name)
        del self[name]

    def pop(self, key: str, *default: Any) -> Any:
        value = self.get(key, *default) if key in self or default else self[key]
        super().pop(key, None)
        return value

    def popitem(self) -> tuple[str, Any]:
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): the face is empty")

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **kwargs: Any) -> None:
        for key, value in dict(*others, **kwargs).items():
            self[key] = value

    def __ior__(self, other: Any) -> Face:
        self.update(other)
        return self

    # Derived -----------------------------------------------------------------------------------

    @property
    def embedding_norm(self) -> Any:
        embedding = self.get("embedding")
        return None if embedding is None else np.linalg.norm(embedding)

    @property
    def normed_embedding(self) -> Any:
        embedding = self.get("embedding")
        return None if embedding is None else embedding / self.embedding_norm

    @property
    def sex(self) -> str | None:
        gender = self.get("gender")
        return None if gender is None else "M" if gender == 1 else "F"

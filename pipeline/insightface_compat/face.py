"""`Face`: the dict that InsightFace's consumers read, with fields worked out when first read."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from ...utils.errors import FieldUnavailable

_log = logging.getLogger("FastFace")

#: Fields that insightface 2.1 and its add-ons give a face: as attributes they read None when unset.
#: Source: insightface 2.1, `app/`, `model_zoo/` and `addons/liveness.py` (the last four are those
#: of the nested `liveness`).
UPSTREAM_FIELDS = frozenset(
    {
        *("bbox", "kps", "det_score", "embedding", "pose", "gender", "age"),
        *("landmark_2d_106", "landmark_3d_68", "verification_score", "liveness"),
        *("status", "is_live", "live_score", "reason"),
    }
)
#: Landmark networks name their field after what they give.
_LANDMARK_FIELD = re.compile(r"landmark_[23]d_\d+")
#: Computed of other fields.
_DERIVED = frozenset({"embedding_norm", "normed_embedding", "sex"})


def imported_class(module: str, name: str) -> type | None:
    """A class of another library, where its module is imported already; None where it is not.

    What an object of ours gives as its `__class__`: then `isinstance` says yes to that class too,
    for those who ask before they use the object, and nothing is imported for it.
    """
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


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

    A field of insightface that is not set reads None as an attribute. Any other name that is not
    set is no attribute, so that `hasattr` is true only of what is there: insightface's own answers
    None to every name, which whoever looks for a method takes for one. Fields that need another
    network (embedding, dense landmarks, age) are worked out the first time something reads them, by
    whatever way: item, attribute, `get`, `items`, `copy`, `pickle`, `dict(face)`.

    All values are CPU numpy float32: `bbox` (4,), `kps` (5, 2), `det_score`, `embedding` (D,) not
    normalised, `landmark_2d_106`, `landmark_3d_68`, `pose` (pitch, yaw, roll in degrees), `gender`
    and `age` as integers.
    """

    def __init__(self, d: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_unread", None)
        object.__setattr__(self, "_refused", {})
        object.__setattr__(self, "_absent", {})
        for key, value in {**(d or {}), **kwargs}.items():
            self[key] = value

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """insightface's own class where that is imported; see `imported_class`."""
        return imported_class("insightface.app.common", "Face") or type(self)

    def expect(self, keys: Iterable[str], source: FieldSource, row: int) -> None:
        """Announces fields that `source` works out when they are read."""
        object.__setattr__(self, "_unread", (source, row))
        for key in keys:
            super().__setitem__(key, _PENDING)

    def refuse(self, key: str, reason: str) -> None:
        """Makes reading a field that isn't there an error with this reason, instead of None.

        The error is an AttributeError and a KeyError too: `hasattr` and `in` say that it is absent.
        """
        self._refused[key] = reason

    def explain(self, reasons: Mapping[str, str]) -> None:
        """Says why fields are not there, to whoever reads them as items; they stay missing."""
        object.__setattr__(self, "_absent", reasons)

    # Reading -----------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if key in self._refused:
            raise FieldUnavailable(self._refused[key])
        value = super().__getitem__(key)
        if value is _PENDING:
            self._read(key)
            value = super().__getitem__(key)
        return value

    def __missing__(self, key: str) -> Any:
        raise FieldUnavailable(self._absent[key]) if key in self._absent else KeyError(key)

    def _read(self, key: str) -> None:
        unread = self._unread
        if unread is None:
            return  # another thread has read the last field meanwhile
        source, row = unread
        try:
            results = source.read(row, key)
        except AttributeError as error:
            # Whoever asks with hasattr or getattr would take the fault for a field that is absent.
            raise RuntimeError(f"{key!r} of a face can't be worked out: {error}") from error
        for name, result in results.items():
            if super().get(name) is _PENDING:
                super().__setitem__(name, result)
        if all(value is not _PENDING for value in super().values()):
            # The source holds the picture: faces that are kept must not keep pictures.
            object.__setattr__(self, "_unread", None)

    def __getattr__(self, name: str) -> Any:
        if name in _DERIVED:
            # Its field is refused, which is an AttributeError: raised again, with the reason.
            return vars(Face)[name].__get__(self)
        if name in self or name in vars(self).get("_refused", ()):
            return self[name]
        if name not in UPSTREAM_FIELDS and not _LANDMARK_FIELD.fullmatch(name):
            raise AttributeError(
                f"this face has no {name!r}: nobody set it, and it is no field of insightface; "
                f"face.get({name!r}) gives None instead",
                name=name,
                obj=self,
            )
        if name == "embedding" and name in self._absent:
            _tell_once(self._absent[name])
        return None

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
        state = {"_refused": dict(self._refused), "_absent": dict(self._absent)}
        return (type(self), (self._resolved(),), state)

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
        embedding = self.embedding
        return None if embedding is None else np.linalg.norm(embedding)

    @property
    def normed_embedding(self) -> Any:
        embedding = self.embedding
        return None if embedding is None else embedding / self.embedding_norm

    @property
    def sex(self) -> str | None:
        gender = self.get("gender")
        return None if gender is None else "M" if gender == 1 else "F"


_told: set[str] = set()


def _tell_once(reason: str) -> None:
    """Says why an embedding reads None: who goes on to compute with it gets an error about None."""
    if reason not in _told:
        _told.add(reason)
        _log.warning("a face's embedding was read and is None: %s", reason)

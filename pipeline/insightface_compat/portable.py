"""Pickling and copying of the drop-in object: by what it was loaded from, with what was written."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any, ClassVar

from ...backends.base import Backend
from ...backends.placement import Placement
from ...backends.registry import get_backend
from ...utils import host
from ...utils.packs import ModelPack
from ...utils.packs.detector_files import find_detectors, with_detector
from ...utils.packs.find import load_pack
from ...utils.packs.read import read_pack
from ..analyzer import Analyzer
from ..pool import shared_analyzer

_log = logging.getLogger("FastFace")

#: What pickle, and objects that have no way to be pickled, raise.
_PICKLING_ERRORS = (
    *(pickle.PicklingError, TypeError, AttributeError, ValueError),
    *(RuntimeError, NotImplementedError),
)


class Portable:
    """An object that is pickled and copied with whatever its users wrote to it.

    Networks are not among it: the models are shared, and a pickle names the pack, the backend and
    the placement that they were loaded with. Of what users put there, methods included, a pickle
    keeps what can be pickled, and the log names the rest. A deep copy keeps all of it.
    """

    #: Attributes that are not taken along, and what makes them anew; None leaves them unset.
    _made_anew: ClassVar[dict[str, Callable[[], Any] | None]] = {}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Not object's: it compares the type with `__class__`, which is insightface's here.
        if _probing.is_on:
            return (_blank, (type(self),))
        return (_blank, (type(self),), _carried(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        vars(self).update(self._anew())

    def _anew(self) -> dict[str, Any]:
        return {name: make() for name, make in self._made_anew.items() if make is not None}

    def __copy__(self) -> Any:
        twin = _blank(type(self))
        vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = memo[id(self)] = _blank(type(self))
        for name, value in list(vars(self).items()):
            if name not in self._made_anew:
                vars(twin)[name] = _deep_copy(value, memo)
        vars(twin).update(self._anew())
        return twin


def _blank(kind: type) -> Any:
    return object.__new__(kind)


def _deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, Analyzer):
        return value
    try:
        return copy.deepcopy(value, memo)
    except _PICKLING_ERRORS:
        # A session or a lock that a consumer put there: both objects use it.
        return value


def _carried(owner: Portable) -> dict[str, Any]:
    """What of an object's attributes goes into a pickle."""
    state: dict[str, Any] = {}
    for name, value in list(vars(owner).items()):
        if name in owner._made_anew:
            continue
        if type(value) is dict:
            kept = {key: _portable(each) for key, each in value.items()}
            lost = [f"{name}[{key!r}]" for key, each in kept.items() if each is _LOST]
            state[name] = {key: each for key, each in kept.items() if each is not _LOST}
        else:
            kept = _portable(value)
            lost = [name] if kept is _LOST else []
            if not lost:
                state[name] = kept
        for place in lost:
            _log.warning(
                "%s is pickled without its %s, which can't be pickled", type(owner).__name__, place
            )
    return state


class _Lost:
    """Marks what can't be pickled."""


_LOST = _Lost()


def _portable(value: Any) -> Any:
    """A value as it goes into a pickle, or `_LOST`."""
    if isinstance(value, Portable):
        return value
    if isinstance(value, Analyzer):
        return _SharedModels(value)
    if isinstance(value, MethodType):
        # pickle would look the method up by its function's name, where another one may be by now.
        function = _portable(value.__func__)
        owner = _portable(value.__self__)
        return _LOST if function is _LOST or owner is _LOST else _Method(value)
    with _probing.on():
        try:
            pickle.dumps(value)
        except _PICKLING_ERRORS:
            return _LOST
    return value


class _Method:
    """A bound method, pickled as its function and its object."""

    def __init__(self, method: MethodType) -> None:
        self._method = method

    def __reduce__(self) -> tuple[Any, ...]:
        return _bound, (self._method.__func__, self._method.__self__)


def _bound(function: Callable[..., Any], owner: Any) -> MethodType:
    return MethodType(function, owner)


class _SharedModels:
    """The shared models of an object, pickled as what they were loaded from."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer

    def __reduce__(self) -> tuple[Any, ...]:
        pack, backend = self._analyzer.pack, self._analyzer.backend
        found = (pack.name, str(pack.folder), backend.name, backend.parameters)
        detector = pack.detector and (
            pack.detector.name,
            str(pack.model("detection").path),
            pack.detector.landmarks_from is not None,
        )
        return _shared_models, (*found, self._analyzer.placement, detector)


def _shared_models(
    pack: str,
    folder: str,
    backend: str,
    parameters: Any,
    placement: Placement,
    detector: tuple[str, str, bool] | None = None,
) -> Analyzer:
    """The shared models that a pickle names.

    Raises:
        ModelError: The pack is not here.
        BackendUnavailable: The backend can't run here.
    """
    chosen = get_backend(backend)
    if parameters is not None:
        chosen = chosen.with_parameters(parameters)
    found = _pack(pack, Path(folder), chosen)
    if detector is not None:
        name, file, second_look = detector
        path = Path(file)
        if not path.is_file():  # on another machine, or after it was moved
            detectors = find_detectors(host.insightface_roots(), host.detector_folders())
            path = detectors.get(name, path)
        found = with_detector(found, name, path, second_look=second_look)
    return shared_analyzer(found, chosen, placement)


def _pack(name: str, folder: Path, backend: Backend) -> ModelPack:
    for pack in backend.packs():
        if pack.name == name:
            return pack
    # On another machine, or after it was moved, it is searched by its name.
    return read_pack(name, folder) if folder.is_dir() else load_pack(name, host.insightface_roots())


class _Probing(threading.local):
    """Whether this thread tries out if something can be pickled, objects of ours aside."""

    is_on = False

    @contextmanager
    def on(self) -> Iterator[None]:
        before, self.is_on = self.is_on, True
        try:
            yield
        finally:
            self.is_on = before


_probing = _Probing()

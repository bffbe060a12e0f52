"""Finds the backends: every `Backend` class in a file of this folder is one."""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
import re
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ..utils.devices import DeviceWord
from ..utils.errors import BackendUnavailable
from ..utils.packs import ModelPack, Task
from ..utils.settings import WrongSetting, settings
from .base import Backend
from .interfaces import Detector, Head
from .placement import Placement

_log = logging.getLogger("FastFace")

#: A class whose base is `Backend` or made of it, and the name that users choose it by.
_DECLARATION = re.compile(r"^class \w+\([^)]*Backend\):", re.MULTILINE)
_NAME = re.compile(r"^    name(?:: [\w\[\]]+)? = [\"'](\w+)[\"']", re.MULTILINE)


class BrokenBackend(Backend):
    """Stands in for a backend whose own file does not load, so that the others still do."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason

    def why_unavailable(self) -> str:
        return self._reason

    def devices(self) -> tuple[DeviceWord, ...]:
        return ()

    def open(self, pack: ModelPack, task: Task, placement: Placement) -> Detector | Head:
        raise BackendUnavailable(self._reason)


@lru_cache(maxsize=1)
def all_backends() -> dict[str, Backend]:
    """Every backend by name, whether it can run here or not."""
    package = __package__ or ""
    folder = list(importlib.import_module(package).__path__)
    found: dict[str, Backend] = {}
    for info in pkgutil.iter_modules(folder):
        if info.ispkg or info.name == "registry":
            continue
        try:
            module = importlib.import_module(f"{package}.{info.name}")
            found.update({backend.name: backend for backend in _backends_of(module)})
        except Exception as error:  # noqa: BLE001 - whatever breaks one file must not hide the rest
            _log.exception("backends/%s.py does not load", info.name)
            reason = (
                f"backends/{info.name}.py does not load: {error!r}; run `python install.py doctor`"
                ", or mend the file if it is yours"
            )
            for name in _declared_names(Path(folder[0], f"{info.name}.py")):
                found[name] = BrokenBackend(name, reason)
    return found


def _declared_names(file: Path) -> list[str]:
    """Names of the backends that a file declares, read from its text; none for other modules."""
    declared = _DECLARATION.split(file.read_text(encoding="utf-8"))[1:]
    names = (_NAME.search(body) for body in declared)
    return [name[1] for name in names if name is not None]


def _backends_of(module: ModuleType) -> list[Backend]:
    """One object of each `Backend` class that is written in a file and has a name."""
    return [
        _made(kind)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__
        and issubclass(kind, Backend)
        and isinstance(getattr(kind, "name", None), str)
    ]


def _made(kind: type[Backend]) -> Backend:
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if not missing:
        return kind()
    lacks = ", ".join(f"{name}()" for name in missing)
    reason = f"{kind.__name__} lacks {lacks}; write what `Backend` in backends/base.py asks for"
    _log.error("backend %r: %s", kind.name, reason)
    return BrokenBackend(kind.name, reason)


def get_backend(name: str) -> Backend:
    """The backend of this name, if it can run here.

    Raises:
        BackendUnavailable: No such backend, or it is missing something; says what.
    """
    backends = all_backends()
    if name not in backends:
        raise BackendUnavailable(f"got backend {name!r}, expected one of {sorted(backends)}")
    reason = refused_by_settings(backends[name]) or backends[name].why_unavailable()
    if reason:
        raise BackendUnavailable(f"backend {name!r} can't run here: {reason}")
    return backends[name]


def refused_by_settings(backend: Backend) -> str | None:
    """Why the user's settings don't let a backend run, or None when they do.

    Raises:
        WrongSetting: They name backends that there are not.
    """
    allowed = settings().backends
    unknown = [name for name in allowed if name not in all_backends()]
    if unknown:
        sentence = f"FASTFACE_BACKENDS names {', '.join(unknown)}, expected some of "
        raise WrongSetting({"FASTFACE_BACKENDS": f"{sentence}{', '.join(all_backends())}"})
    if allowed and backend.name not in allowed:
        return f"FASTFACE_BACKENDS allows only {', '.join(allowed)}"
    return None

"""Families of face detectors: every `DetectorFamily` in a file of this folder is one.

A family is recognised by the header of a graph: the names, ranks and shapes of its inputs and
outputs, never by the name of a file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from ..errors import ModelError
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader
from .family import DetectorFamily, takes_images


@cache
def detector_families() -> dict[str, DetectorFamily]:
    """Every family by name."""
    families: dict[str, DetectorFamily] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            is_here = kind.__module__ == module.__name__
            if is_here and issubclass(kind, DetectorFamily) and not inspect.isabstract(kind):
                families[kind.name] = kind()
    return families


def family_of_graph(header: GraphHeader) -> DetectorFamily | None:
    """The family of a graph; None where it is of none."""
    if not takes_images(header):
        return None
    known = (family for family in detector_families().values() if family.recognises(header))
    return next(known, None)


def family_of(model: ModelFile) -> DetectorFamily:
    """The family of a detector's file.

    Raises:
        ModelError: It is of none that is known here.
    """
    family = detector_families().get(model.family or "")
    if family is None:
        seen = str(model.header) if model.header else "a graph that was not read"
        raise ModelError(
            f"{model.path} is no face detector of a family that is known here: it has {seen}, "
            f"expected {known_detectors()}"
        )
    return family


def has_landmarks(model: ModelFile) -> bool:
    """Whether a detector gives five landmarks a face; raises as `family_of`."""
    return family_of(model).has_landmarks(model)


def known_detectors() -> str:
    """What graphs of detectors look like that are known here, in one line for people."""
    return "; ".join(f"{family.name} ({family.graphs})" for family in detector_families().values())

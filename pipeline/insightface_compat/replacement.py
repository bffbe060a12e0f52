"""Opt-in: lets packs that build `insightface.app.FaceAnalysis` themselves have ours instead."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...backends.insightface import original_is_wanted
from ...backends.interfaces import DetectionOptions
from ...backends.providers.request import devices_of_providers
from ...backends.registry import all_backends, refused_by_settings
from ...utils.devices import Device
from ...utils.errors import FastFaceError, InvalidInput
from ...utils.packs import TASK_ORDER, Task
from ...utils.packs.find import load_pack
from ...utils.packs.licences import INSIGHTFACE, PACK_LICENCES
from ...utils.settings import settings
from ..choices import AUTO
from ..loading import load_for_pack
from .addons import open_addons
from .det_sizes import AUTO_SIZES
from .facade import FaceAnalysis

#: Set to 1 to replace the class.
VARIABLE = "FASTFACE_REPLACE_INSIGHTFACE"

_log = logging.getLogger("FastFace")


def replace_if_wanted() -> bool:
    """Replaces insightface's class if the settings ask for it; whether it did."""
    if not settings().replace_insightface:
        return False
    from insightface.app import FaceAnalysis as Upstream

    replace_class(Upstream)
    _log.info("%s=1: insightface's FaceAnalysis is FastFace's now", VARIABLE)
    return True


def replace_class(upstream: type) -> None:
    """Makes calls of a class give our object; those who imported the class before have it too.

    The class itself stays, with its subclasses and everything else of insightface. What ours can't
    do, such as downloading a pack, goes on to the original.

    Args:
        upstream: `insightface.app.FaceAnalysis`.
    """

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls is upstream and not original_is_wanted():
            try:
                return _ours(*args, **kwargs)
            except FastFaceError as error:
                _log.warning("insightface's own FaceAnalysis is used: %s", error)
        return object.__new__(cls)

    upstream.__new__ = new  # type: ignore[method-assign,assignment]


def _ours(
    name: Any = "buffalo_l",
    root: Any = "~/.insightface",
    allowed_modules: Any = None,
    *,
    providers: Any = None,
    provider_options: Any = None,
    addons: Sequence[str] | None = None,
    liveness_mode: str = "normal",
    liveness_threshold: float | None = None,
    **further: Any,
) -> FaceAnalysis:
    """Our object for the arguments of insightface's.

    Raises:
        FastFaceError: They can't be had; upstream is to say so, or to do it.
    """
    # A `ModelPackageDescriptor` of insightface 2.x knows its folder.
    folder = _text("name", getattr(name, "path", name))
    roots = [Path(os.path.expanduser(_text("root", root)))]  # noqa: PTH111  Path's raises
    pack = load_pack(folder, roots, allow_path=True)
    # Like upstream's, it looks at two sizes until it is prepared.
    options = DetectionOptions(AUTO_SIZES, nms_threshold=pack.nms_threshold)
    names = [allowed_modules] if isinstance(allowed_modules, str) else allowed_modules
    tasks: list[Task] | None = None
    if names is not None:
        tasks = [name for name in names if name in TASK_ORDER]
    device = _device(providers, provider_options)
    known = PACK_LICENCES.get(pack.name)
    app = load_for_pack(
        pack,
        options,
        device=device,
        tasks=tasks,
        # Whoever names a pack of others by its name wants what it holds.
        other_embeddings=known is not None and known.publishers != (INSIGHTFACE,),
    )
    app.liveness_mode = liveness_mode
    if liveness_threshold is not None:
        app.liveness_threshold = liveness_threshold
    if addons:
        app.addons = open_addons(addons, root, app.liveness_threshold, providers)
    ignored = sorted(key for key, value in further.items() if value)
    if ignored:
        _log.warning(
            "FaceAnalysis was given %s: these are for ONNX Runtime's own sessions, and have no "
            "effect on FastFace's",
            ", ".join(ignored),
        )
    return app


def _text(argument: str, value: Any) -> str:
    """A path in any form that Python has for one: text, bytes, an object."""
    try:
        return os.fsdecode(value)
    except TypeError as error:
        raise InvalidInput(f"got {value!r} for {argument}, expected a name or path") from error


def _device(providers: Any, provider_options: Any) -> str:
    """The device of the first provider asked for that is here, `auto` when none is asked for."""
    asked, odd = devices_of_providers(providers, provider_options)
    for line in odd:
        _log.warning("FaceAnalysis was given providers %r: %s", providers, line)
    here = [device for device in asked if _is_here(device)]
    if not here:
        # Of one that is not here the loader says why, how to get it, and what it takes instead.
        return asked[0] if asked else AUTO
    if here[0] != asked[0]:
        _log.warning(
            "FaceAnalysis was given providers %r: nothing runs on %s here, so %s is used",
            providers,
            ", ".join(asked[: asked.index(here[0])]),
            here[0],
        )
    return here[0]


def _is_here(device: str) -> bool:
    word = Device.parse(device).word
    return any(
        word in backend.devices()
        for backend in all_backends().values()
        if not refused_by_settings(backend)
    )

"""Opt-in: lets packs that build `insightface.app.FaceAnalysis` themselves have ours instead."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import FastFaceError, InvalidInput
from ...utils.packs.find import load_pack
from ...utils.settings import settings
from ..insightface import original_is_wanted
from ..interfaces import DetectionOptions
from ..loading import load_for_pack
from ..providers.table import device_name, row_of_provider
from .facade import FaceAnalysis
from .sizes import AUTO_SIZES

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
    do, such as add-ons, goes on to the original.

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
    root: str = "~/.insightface",
    allowed_modules: Sequence[str] | None = None,
    providers: Sequence[Any] | None = None,
    **further: Any,
) -> FaceAnalysis:
    """Our object for the arguments of insightface's."""
    unknown = sorted(key for key, value in further.items() if value)
    if unknown:
        raise InvalidInput(f"got {', '.join(unknown)}, which FastFace does not have")
    pack = load_pack(str(name), [Path(root).expanduser()], allow_path=True)
    # Like upstream's, it looks at two sizes until it is prepared.
    options = DetectionOptions(AUTO_SIZES)
    return load_for_pack(pack, options, device=_device(providers), tasks=allowed_modules)


def _device(providers: Sequence[Any] | None) -> str:
    """The device of the first provider asked for, `auto` when none is."""
    if not providers:
        return "auto"
    first = providers[0]
    provider, options = (first, {}) if isinstance(first, str) else (first[0], dict(first[1]))
    row = row_of_provider(provider)
    return device_name(row, int(options.get("device_id", 0)))

"""insightface 2.x's add-ons on our object: liveness, by insightface's own model of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...utils.errors import BackendUnavailable, InvalidInput

LIVENESS = "liveness"
#: Source: insightface 2.1, `addons/liveness.py`.
DEFAULT_LIVENESS_THRESHOLD = 0.8
#: In this mode a face that is not live is not recognised; in `observe` it is.
NORMAL_MODE = "normal"


def open_addons(
    names: Sequence[str], root: Any, threshold: float, providers: Any
) -> dict[str, Any]:
    """The add-ons of these names, as insightface opens them; a missing file is downloaded by it.

    Args:
        names: Such as `liveness`.
        root: insightface's folder, in which its add-ons lie.
        threshold: Lowest probability of a live face, 0..1.
        providers: ONNX Runtime's, for the add-on's own session.

    Returns:
        By name, for `FaceAnalysis.addons`.

    Raises:
        InvalidInput: There is no such add-on.
        BackendUnavailable: This insightface has no add-ons.
    """
    unknown = [name for name in names if name != LIVENESS]
    if isinstance(names, str) or unknown:
        raise InvalidInput(f"got addons {names!r}, expected a list of names: {LIVENESS!r}")
    try:
        from insightface.addons import Liveness, ensure_addon
    except ImportError as error:
        raise BackendUnavailable(
            f"this insightface has no add-ons ({error}); update it with "
            "`pip install --no-deps -U insightface`"
        ) from error
    file = ensure_addon(LIVENESS, root=root)
    return {LIVENESS: Liveness(file, threshold=threshold, providers=providers)}


def is_not_live(face: Any, addons: dict[str, Any], mode: str) -> str | None:
    """Why a face is not to be recognised, or None; upstream recognises it or not by the same."""
    if LIVENESS not in addons or mode != NORMAL_MODE or face.liveness.is_live is True:
        return None
    verdict = dict(face.liveness)
    return (
        f"the liveness add-on did not take this face for a live one ({verdict}); with "
        "liveness_mode 'observe' it is recognised nevertheless"
    )

"""Where one scene of a film ends and the next begins: by how much small pictures of it differ."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..pixels import quantised

#: Rows and columns of the small pictures.
_SMALL_HW = (36, 64)
#: Mean difference of grey levels, 0..255, that a cut makes at least.
_LEAST_CHANGE = 20.0
#: And how many times as large it is as the usual ones of the frames just before it, which camera
#: and people make.
_TIMES_USUAL = 3.0
#: And as those just behind it.
_TIMES_FOLLOWING = 2.0
#: Frames before it, and behind it, that are looked at.
_USUAL_FRAMES = 8
#: Changes that `is_cut` looks at.
LOOKED_BACK = _USUAL_FRAMES + 1


def small_picture(pixels: Tensor) -> np.ndarray:
    """Grey levels `[36,64]` uint8 of a frame, for `change`.

    Args:
        pixels: `[H,W,3]` RGB, uint8 0..255 or floating 0..1, on any device.
    """
    rows, columns = (
        ((torch.arange(count) + 0.5) * (side / count)).long().to(pixels.device)
        for count, side in zip(_SMALL_HW, pixels.shape[:2], strict=True)
    )
    colours = quantised(pixels[rows[:, None], columns]).to("cpu").numpy()
    # Green counts as much as both others, nearly as in luminance.
    return (colours @ np.array([1, 2, 1], np.uint16) // 4).astype(np.uint8)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean difference of two small pictures in grey levels, 0..255."""
    return float(np.abs(before.astype(np.int16) - after.astype(np.int16)).mean())


def is_cut(changes: np.ndarray) -> bool:
    """Whether the last of these frames begins a new scene.

    Args:
        changes: `[n]` float32, the change from each frame to the next, up to the one in question.
    """
    if not len(changes) or changes[-1] < _LEAST_CHANGE:
        return False
    usual = changes[-1 - _USUAL_FRAMES : -1]
    return not len(usual) or bool(changes[-1] > _TIMES_USUAL * np.median(usual))


def cuts(changes: np.ndarray) -> list[int]:
    """The frames that begin a new scene.

    What follows is looked at too: where a camera begins to move, all changes are large from then
    on.

    Args:
        changes: `[N]` float32, the change from the frame before; the first one's counts as none.
    """
    return [
        place
        for place in range(1, len(changes))
        if is_cut(changes[max(1, place + 1 - LOOKED_BACK) : place + 1])
        and _ends_at_once(changes[place : place + LOOKED_BACK])
    ]


def _ends_at_once(changes: np.ndarray) -> bool:
    """Whether the first of some changes is larger than the usual ones of those behind it."""
    return len(changes) == 1 or bool(changes[0] > _TIMES_FOLLOWING * np.median(changes[1:]))

"""How much a face looks ahead, by its five landmarks."""

from __future__ import annotations

import numpy as np

#: Where the nose is between eyes and mouth of a face that looks ahead.
_NOSE_HEIGHT = 0.57
#: Least `frontal` of a face that can be recognised: to recognition networks profiles, hair and what
#: is no face at all are one person.
RECOGNISABLE = 0.25


def frontal(landmarks: np.ndarray) -> np.ndarray:
    """How much faces look ahead, by how their noses lie between eyes and mouth.

    Args:
        landmarks: `[N,5,2]` in any unit; heads may lean to a side.

    Returns:
        `[N]` 1 for a face that looks ahead, 0 for a profile.
    """
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    eyes, mouth = (left + right) / 2, landmarks[:, 3:].mean(1)
    down = mouth - eyes
    height = np.maximum(np.linalg.norm(down, axis=1), 1e-9)
    down = down / height[:, None]
    across = np.stack((down[:, 1], -down[:, 0]), 1)
    width = np.maximum(np.abs(((right - left) * across).sum(1)), 1e-9)
    aside = np.abs(((nose - eyes) * across).sum(1)) / np.maximum(width, 0.3 * height)
    low = ((nose - eyes) * down).sum(1) / height
    turned = np.clip(1 - 2 * aside, 0, 1)
    tilted = np.clip(1 - 2 * np.abs(low - _NOSE_HEIGHT), 0, 1)
    return turned * tilted

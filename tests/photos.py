"""Photos as OpenCV reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_bgr(path: Path) -> np.ndarray:
    """A picture file, `[H,W,3]` uint8 BGR."""
    import cv2

    image = cv2.imread(str(path))
    if image is None:
        raise FileNotFoundError(f"{path} is no picture that OpenCV can read")
    return image

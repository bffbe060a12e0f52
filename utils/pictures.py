"""Picture files: read as a person sees them, written whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from .errors import InvalidInput


def packaged_photo() -> Path:
    """The photo of six faces that comes with insightface.

    Raises:
        InvalidInput: insightface is not installed.
    """
    spec = importlib.util.find_spec("insightface")
    if spec is None or spec.origin is None:
        raise InvalidInput(
            "got no photo, and insightface, which brings one, is not installed; "
            "name a picture file behind the command"
        )
    return Path(spec.origin).parent / "data" / "images" / "t1.jpg"


def read_picture(file: Path) -> np.ndarray:
    """Reads a picture: `[H,W,3]` uint8 RGB.

    Raises:
        InvalidInput: It can't be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            # Phones store the turn beside the pixels.
            return np.array(ImageOps.exif_transpose(opened).convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise InvalidInput(f"{file} can't be read as a picture: {error}") from error


def write_picture(file: Path, picture: np.ndarray) -> None:
    """Writes `[H,W,3]` uint8 RGB, in the format of the file's name; makes its folder.

    Raises:
        InvalidInput: It can't be written.
    """
    from PIL import Image

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    except OSError as error:
        raise InvalidInput(f"{file} can't be written: {error}; use --output") from error

"""Picture files: read as a person sees them, written whole or not at all."""

from __future__ import annotations

import importlib.util
import io
import struct
from pathlib import Path

import numpy as np

from .errors import InvalidInput
from .files import write_whole

#: What to do where a command's results can't be written.
USE_OUTPUT = "choose another folder with --output"


#: What else Pillow raises on damaged files, found by damaging some, and Python on odd paths.
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RuntimeError,
    SyntaxError,
    EOFError,
    struct.error,
)


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

    Of 16-bit grey the upper 8 bits are taken, as Pillow and OpenCV do with 16-bit colours.

    Raises:
        InvalidInput: It can't be read, or holds numbers that are no 8- or 16-bit levels.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            # Phones store the turn beside the pixels.
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith(("I", "F")):
                return _from_wide_levels(np.asarray(upright), file)
            return np.array(upright.convert("RGB"))
    except InvalidInput:
        raise
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{file} can't be read as a picture: {error}") from error


def _from_wide_levels(levels: np.ndarray, file: Path) -> np.ndarray:
    """Grey levels of more than 8 bits, which Pillow's own conversion would cut off at 255.

    Args:
        levels: `[H,W]`, whole numbers of 0..65535, or floating ones of 0..1.
        file: Where they are from.
    """
    if levels.dtype.kind == "f":
        levels = np.rint(levels * 65535.0)
    # Written so that NaN is refused too.
    if levels.size and not (levels.min() >= 0 and levels.max() <= 65535):
        raise InvalidInput(
            f"{file} has grey levels that are neither of 16 bits nor floating 0..1; save it as an "
            "8-bit picture"
        )
    return np.repeat((levels.astype(np.uint16) >> 8).astype(np.uint8)[..., None], 3, axis=2)


def write_picture(file: Path, picture: np.ndarray) -> None:
    """Writes `[H,W,3]` uint8 RGB, in the format of the file's name; makes its folder.

    Raises:
        InvalidInput: There is no picture format of that name.
        FileError: It can't be written.
    """
    from PIL import Image

    formats = Image.registered_extensions()
    kind = formats.get(file.suffix.lower())
    if kind not in Image.SAVE:
        raise InvalidInput(f"got the name {file.name!r} for a picture, expected one such as x.png")
    content = io.BytesIO()
    Image.fromarray(picture).save(content, kind)
    write_whole(file, content.getvalue(), USE_OUTPUT)

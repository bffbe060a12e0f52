"""Picture files: read as a person sees them, written whole or not at all."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .decoding import DAMAGED, require_reader, upright_rgb
from .errors import BackendUnavailable, InvalidInput
from .file_kinds import SIGNATURE_BYTES, kind_of
from .files import write_whole

#: What to do where a command's results can't be written.
USE_OUTPUT = "choose another folder with --output"
#: Side of a thumbnail in sides of the face's box, and the quality of its JPEG.
_THUMBNAIL_EXPANSION, _THUMBNAIL_QUALITY = 1.5, 80
#: So many pixels of the picture are looked at for each of a thumbnail's, across and down, and fewer
#: than twice as many.
_PIXELS_A_PIXEL = 2


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


def example_photo() -> Path:
    """The photo of one person that comes with this pack."""
    return Path(__file__).parents[1] / "example_workflows" / "input" / "fastface_example.jpg"


def read_picture(file: Path) -> np.ndarray:
    """Reads a picture: `[H,W,3]` uint8 RGB, as `upright_rgb` says.

    Raises:
        InvalidInput: It can't be read, or holds numbers that are no 8- or 16-bit levels.
    """
    from PIL import Image

    try:
        with file.open("rb") as start:
            require_reader(kind_of(start.read(SIGNATURE_BYTES)))
        with Image.open(file) as opened:
            return upright_rgb(opened)[0]
    except (InvalidInput, BackendUnavailable) as error:
        raise InvalidInput(f"{file} can't be read as a picture: {error}") from error
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{file} can't be read as a picture: {error}") from error


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


def square_thumbnail(pixels: np.ndarray, box_xyxy: Sequence[float], side: int) -> bytes:
    """A small square around a box as a JPEG; black where it reaches beyond the picture.

    Args:
        pixels: `[H,W,3]` uint8 RGB.
        box_xyxy: In pixels; may reach beyond the picture.
        side: Of the thumbnail, in pixels.
    """
    from PIL import Image

    left, top, right, bottom = box_xyxy
    half = max(right - left, bottom - top, 2.0) * _THUMBNAIL_EXPANSION / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    x0, y0, x1, y1 = (round(value) for value in (x - half, y - half, x + half, y + half))
    # Of a large face every so many pixels are enough: copying all of them costs milliseconds.
    step = max(1, (x1 - x0) // (_PIXELS_A_PIXEL * side))
    inside = pixels[max(0, y0) : max(0, y1) : step, max(0, x0) : max(0, x1) : step]
    square = Image.new("RGB", (-(-(x1 - x0) // step), -(-(y1 - y0) // step)))
    if inside.size:
        square.paste(Image.fromarray(inside), (max(0, -x0) // step, max(0, -y0) // step))
    square = square.resize((side, side), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    square.save(content, "JPEG", quality=_THUMBNAIL_QUALITY)
    return content.getvalue()

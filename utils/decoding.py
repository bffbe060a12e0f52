"""Picture files decoded as a person sees them, in bounded memory, whatever they hold."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .errors import BackendUnavailable, InvalidInput
from .file_kinds import FileKind
from .jpeg import decode_jpeg, turned_upright
from .modules import has_module

if TYPE_CHECKING:
    from PIL import Image

#: What Pillow raises on damaged files, found by damaging some, and Python on odd paths.
DAMAGED = (
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
    zlib.error,
)
#: Bytes a pixel that decoding takes at most at once: four channels, while they are turned upright
#: twice, and else three of the result.
DECODING_BYTES = 8
#: Rows whose colours are converted at a time.
_STRIP_ROWS = 256
#: Pillow's names of the formats of each kind.
_FORMATS: dict[FileKind, tuple[str, ...]] = {
    FileKind.PNG: ("PNG",),
    FileKind.GIF: ("GIF",),
    FileKind.BMP: ("BMP",),
    FileKind.TIFF: ("TIFF",),
    FileKind.WEBP: ("WEBP",),
    FileKind.HEIC: ("HEIF",),
    FileKind.AVIF: ("AVIF",),
    FileKind.JPEG2000: ("JPEG2000",),
    FileKind.PSD: ("PSD",),
}
_ANIMATED = frozenset({FileKind.GIF, FileKind.PNG, FileKind.WEBP, FileKind.AVIF})
#: JPEG can be decoded at these parts of its size.
_REDUCTIONS = (1, 2, 4, 8)


@dataclass(frozen=True, eq=False)
class OpenedPicture:
    """A picture of which only the header was read.

    Attributes:
        size_hw: Height and width in pixels, as stored.
        reduction: It is decoded at this part of its size: 1, 2, 4 or 8.
        decode: Gives `[H,W,3]` uint8 RGB, upright, and what there is to say about it; raises
            InvalidInput where it is damaged.
    """

    size_hw: tuple[int, int]
    reduction: int
    decode: Callable[[], tuple[np.ndarray, tuple[str, ...]]]

    @property
    def decoding_bytes(self) -> int:
        """Most memory that decoding takes."""
        height, width = self.size_hw
        return DECODING_BYTES * height * width // self.reduction**2


def open_picture(
    file: BinaryIO, kind: FileKind, most_pixels: int, enough_side: int | None = None
) -> OpenedPicture:
    """Reads the header of a picture, and says what decoding the rest will take.

    Args:
        file: Open until it was decoded, and at its beginning.
        kind: By its first bytes.
        most_pixels: A picture of more is decoded at a part of its size where its format can do
            that, which JPEG alone can, and else refused.
        enough_side: Pixels of the longer side below which no JPEG is reduced; None reduces only
            those of too many pixels.

    Raises:
        InvalidInput: It is damaged, or has too many pixels.
        BackendUnavailable: What reads this format is not installed.
    """
    from PIL import Image, JpegImagePlugin

    try:
        if kind is FileKind.JPEG:
            # Image.open refuses what has many pixels, though they would not all be decoded.
            opened: Image.Image = JpegImagePlugin.JpegImageFile(file)
        else:
            require_reader(kind)
            opened = Image.open(file, formats=_FORMATS[kind])
    except BackendUnavailable:
        raise
    except Image.DecompressionBombError as error:
        raise InvalidInput(f"it has too many pixels to be decoded: {error}") from error
    except DAMAGED as error:
        raise InvalidInput(f"its header is damaged: {_why(error)}") from error
    width, height = opened.size
    reduction = 1
    if kind is FileKind.JPEG:
        reduction = _reduction(width, height, most_pixels, enough_side)
    if width * height > most_pixels * reduction**2:
        raise InvalidInput(
            f"it has {width} x {height} pixels, which would take "
            f"{DECODING_BYTES * width * height / 1e9:.1f} GB to decode; expected at most "
            f"{most_pixels / 1e6:g} million pixels, unless the limit is raised"
        )

    def decode() -> tuple[np.ndarray, tuple[str, ...]]:
        try:
            if kind is FileKind.JPEG:
                pixels = decode_jpeg(file, opened.mode, (height, width), reduction)
                if pixels is not None:
                    return _finished_jpeg(pixels, opened, reduction)
            return _decoded(opened, kind, reduction)
        except DAMAGED as error:
            raise InvalidInput(f"it is damaged: {_why(error)}") from error

    return OpenedPicture((height, width), reduction, decode)


def _reduction(width: int, height: int, most_pixels: int, enough_side: int | None) -> int:
    """The part of its size at which a JPEG is decoded."""
    fitting = [each for each in _REDUCTIONS if width * height <= most_pixels * each**2]
    least = fitting[0] if fitting else _REDUCTIONS[-1]
    if enough_side is None:
        return least
    return max([least, *(each for each in _REDUCTIONS if max(width, height) >= enough_side * each)])


def require_reader(kind: FileKind) -> None:
    """Makes sure that pictures of a kind can be read.

    Raises:
        BackendUnavailable: What reads them is not installed.
    """
    from PIL import features

    if kind is FileKind.HEIC:
        if not has_module("pillow_heif"):
            raise BackendUnavailable(
                "reading HEIC needs pillow-heif: run `pip install pillow-heif`"
            )
        import pillow_heif

        pillow_heif.register_heif_opener()
    elif kind is FileKind.AVIF and not features.check("avif"):
        raise BackendUnavailable(
            "reading AVIF needs Pillow 11.3 or newer: run `pip install --upgrade pillow`"
        )


def _decoded(
    opened: Image.Image, kind: FileKind, reduction: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    notes = []
    if kind in _ANIMATED and getattr(opened, "is_animated", False):
        notes.append("animated: its first picture")
    elif kind is FileKind.TIFF and getattr(opened, "n_frames", 1) > 1:
        notes.append("of several pages: the first")
    if reduction > 1:
        width, height = opened.size
        # The plugin rounds sizes up, and takes what is at least as large as asked.
        opened.draft(None, (width // reduction, height // reduction))
        notes.append(_reduced(reduction))
    pixels, more = upright_rgb(opened)
    return pixels, (*notes, *more)


def _reduced(reduction: int) -> str:
    return f"decoded at 1/{reduction} of its size"


def _finished_jpeg(
    pixels: np.ndarray, opened: Image.Image, reduction: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """What `_decoded` gives, of pixels as they are stored.

    Args:
        pixels: `[H,W,3]` uint8 in the file's own colours; may be written to.
        opened: The same file, not loaded.
    """
    from PIL import ExifTags, Image

    notes = [_reduced(reduction)] if reduction > 1 else []
    to_rgb, more = _conversion(opened, opened.info.get("icc_profile"))
    if to_rgb is not _plain:
        for top in range(0, len(pixels), _STRIP_ROWS):
            strip = Image.fromarray(pixels[top : top + _STRIP_ROWS])
            pixels[top : top + _STRIP_ROWS] = np.asarray(to_rgb(strip))
    orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    return turned_upright(pixels, orientation), (*notes, *more)


def upright_rgb(opened: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels of an opened picture as a person sees it: turned upright, its colours in sRGB.

    Of 16-bit grey the upper 8 bits are taken, as Pillow and OpenCV do with 16-bit colours; alpha is
    left out.

    Returns:
        `[H,W,3]` uint8 RGB, and what there is to say about them.

    Raises:
        InvalidInput: It holds numbers that are no 8- or 16-bit levels.
    """
    from PIL import ImageOps

    profile = opened.info.get("icc_profile")
    # Phones store the turn beside the pixels.
    ImageOps.exif_transpose(opened, in_place=True)
    wide = opened.mode.startswith(("I", "F"))
    to_rgb, notes = (_from_wide_levels, ()) if wide else _conversion(opened, profile)
    width, height = opened.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        strip = opened.crop((0, top, width, min(height, top + _STRIP_ROWS)))
        pixels[top : top + _STRIP_ROWS] = np.asarray(to_rgb(strip))
    return pixels, notes


def _conversion(
    picture: Image.Image, profile: bytes | None
) -> tuple[Callable[[Image.Image], Image.Image], tuple[str, ...]]:
    """What makes sRGB of a picture's colours, and what there is to say about it."""
    from PIL import ImageCms

    if not profile:
        return _plain, ()
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return _plain, ()
        # A grey picture may carry the profile of the camera's colours.
        mode = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}[_colour_space(source)]
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, LookupError, TypeError):
        return _plain, ("its colour profile can't be used: taken for sRGB",)

    def by_profile(strip: Image.Image) -> Image.Image:
        strip = strip if strip.mode == mode else strip.convert(mode)
        return ImageCms.applyTransform(strip, transform) or strip

    return by_profile, ()


def _plain(strip: Image.Image) -> Image.Image:
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _colour_space(profile: Any) -> str:
    return profile.profile.xcolor_space


def _from_wide_levels(picture: Image.Image) -> np.ndarray:
    """`[H,W,3]` uint8 of grey levels of more than 8 bits: Pillow's conversion cuts them off at 255.

    Args:
        picture: Of whole numbers of 0..65535, or floating ones of 0..1.
    """
    levels = np.asarray(picture)
    if levels.dtype.kind == "f":
        levels = np.rint(levels * 65535.0)
    # Written so that NaN is refused too.
    if levels.size and not (levels.min() >= 0 and levels.max() <= 65535):
        raise InvalidInput(
            "it has grey levels that are neither of 16 bits nor floating 0..1; save it as an "
            "8-bit picture"
        )
    return np.repeat((levels.astype(np.uint16) >> 8).astype(np.uint8)[..., None], 3, axis=2)


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__

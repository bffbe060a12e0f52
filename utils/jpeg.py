"""JPEGs decoded by OpenCV: the pixels that Pillow gives, in half the time and less memory.

Both call libjpeg-turbo. Pillow keeps four bytes a pixel and packs them anew for numpy, which takes
as long again as the decoding; OpenCV writes the rows where they are wanted. But it says nothing of
files that were cut off or in which libjpeg gave up, and has Huffman tables for those that lack
theirs. So it gets the files of cameras and phones, in which one scan, with nothing between, goes on
to the end; progressive ones and whatever else is odd are left to Pillow.
"""

from __future__ import annotations

import re
import sys
from typing import BinaryIO

import numpy as np

from .pixels import opencv_is_there

#: Second bytes of markers, by ISO/IEC 10918-1: frames that are not progressive, tables, scan.
_FRAMES, _HUFFMAN_TABLES, _SCAN = frozenset({0xC0, 0xC1}), 0xC4, 0xDA
#: What is in coded pixels no part of them: a marker, but for those that restart the decoder.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_END_OF_IMAGE = b"\xff\xd9"
#: Modes, in Pillow's words, of which both make the same colours.
_MODES = frozenset({"RGB", "L"})
#: A colour by which the last row of pixels is known to be unwritten.
_UNWRITTEN = (3, 251, 127)


def decode_jpeg(
    file: BinaryIO, mode: str, size_hw: tuple[int, int], reduction: int
) -> np.ndarray | None:
    """Decodes a JPEG as it is stored, in the colours it is stored in.

    Args:
        file: Its beginning is that of the JPEG.
        mode: Pillow's word for its colours.
        size_hw: By its header, in pixels.
        reduction: 1, 2, 4 or 8: the part of its size at which it is decoded.

    Returns:
        `[H,W,3]` uint8 RGB; grey as three equal channels. None where Pillow has to do it: OpenCV is
        not installed, or could make something else of the file.
    """
    if mode not in _MODES or not opencv_is_there():
        return None
    file.seek(0)
    content = file.read()
    if not _is_one_scan(content):
        return None
    import cv2

    # Asked for with what follows these mean colours, too.
    reduced = {
        1: 0,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }
    colours = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)  # RGB from OpenCV 4.11 on
    # As stored: its own reading of the turn in EXIF is not Pillow's.
    flags = reduced[reduction] | colours | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        if colours == cv2.IMREAD_COLOR:
            bgr = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
            return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        size_hw = (-(-size_hw[0] // reduction), -(-size_hw[1] // reduction))
        pixels = _into_array(file, size_hw, flags)
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if pixels is None else pixels
    except cv2.error:
        return None


def _into_array(file: BinaryIO, size_hw: tuple[int, int], flags: int) -> np.ndarray | None:
    """Decodes into an array of numpy's; None where that can't be done.

    `imdecode` decodes into memory of OpenCV's own, which the system hands out in pages of 4 kB, and
    copies: of 12 million pixels that takes 60 ms, this 39. numpy asks for pages of 2 MB.
    """
    import cv2

    if sys.platform != "linux":  # elsewhere an open file has no name
        return None
    try:
        name = f"/proc/self/fd/{file.fileno()}"
    except OSError:  # it is in memory
        return None
    pixels = np.empty((*size_hw, 3), np.uint8)
    # OpenCV leaves an array as it is where a header is damaged, and says nothing.
    pixels[-1] = _UNWRITTEN
    found = cv2.imread(name, pixels, flags)
    is_whole = found is not None and not (pixels[-1] == _UNWRITTEN).all()
    return pixels if is_whole else None


def _is_one_scan(content: bytes) -> bool:
    """Whether a JPEG is a header, one scan and the end, each in its place."""
    seen = set()
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _SCAN:
            first = _MARKER.search(content, place)
            ends = first is not None and first.end() == len(content) and first[0] == _END_OF_IMAGE
            return ends and _HUFFMAN_TABLES in seen and bool(seen & _FRAMES)
        seen.add(marker)
    return False


def turned_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image as EXIF's orientation says.

    Args:
        pixels: `[H,W,3]` uint8.
        orientation: 1 to 8; others leave it as it is.
    """
    import cv2

    if orientation in (5, 7):
        pixels = cv2.transpose(pixels)
    if orientation in (2, 4):
        return cv2.flip(pixels, 1 if orientation == 2 else 0)
    turns = {
        3: cv2.ROTATE_180,
        6: cv2.ROTATE_90_CLOCKWISE,
        7: cv2.ROTATE_180,
        8: cv2.ROTATE_90_COUNTERCLOCKWISE,
    }
    return cv2.rotate(pixels, turns[orientation]) if orientation in turns else pixels

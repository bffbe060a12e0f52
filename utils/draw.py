"""Pictures of faces: InstantID's keypoint images, and boxes and landmarks drawn on a photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BackendUnavailable, InvalidInput
from .faces import Faces

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

#: RGB of left eye, right eye, nose, left mouth corner, right mouth corner, as InstantID has them.
_KEYPOINT_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
_NOSE = 2
_LIMB_HALF_WIDTH_PX = 4
_LIMB_BRIGHTNESS = 0.6
_KEYPOINT_RADIUS_PX = 10
#: Coordinates from here on are no pixels of any image, and OpenCV's own numbers overflow.
_MOST_PX = 1 << 20

_BOX_COLOUR = (90, 255, 120)
_OUTLINE_COLOUR = (0, 0, 0)
#: Sizes in a picture of one megapixel; they grow and shrink with its side.
_LINE_PX = 2.5
_DOT_RADIUS_PX, _SMALLEST_DOT_RADIUS_PX = 3.0, 2.0
_DOTS_ACROSS_A_FACE = 15
_SMALLEST_TEXT_PX, _LARGEST_TEXT_PX = 12.0, 26.0
#: Text is at least this large at any resolution, and left out where less than the second fits.
_READABLE_TEXT_PX, _LEGIBLE_TEXT_PX = 13, 8


def draw_keypoints(landmarks: np.ndarray | None, size_hw: tuple[int, int]) -> np.ndarray:
    """Draws the keypoint image that InstantID's ControlNet was trained with.

    Args:
        landmarks: `[5,2]` float32 x, y in pixels: left eye, right eye, nose, left and right mouth
            corner; float32 as InsightFace gives them, for coordinates round the same way. None
            for an image without a face: it is black.
        size_hw: Height and width of the image in pixels.

    Returns:
        `[H,W,3]` uint8 RGB.

    Raises:
        BackendUnavailable: OpenCV, whose rasteriser defines the very pixels, is not installed.
        InvalidInput: The landmarks are not `[5,2]` numbers, or such that no image has.

    Source:
        InstantID: Zero-shot Identity-Preserving Generation in Seconds (arXiv 2401.07519), the
        `draw_kps` of github.com/instantX-research/InstantID.
    """
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    if landmarks is None:
        return image
    # A comparison that NaN fails, too.
    if landmarks.shape != (5, 2) or not (np.abs(landmarks) < _MOST_PX).all():
        raise InvalidInput(
            f"got landmarks of shape {landmarks.shape} with values {landmarks.tolist()}, "
            f"expected [5,2] finite pixel coordinates below {_MOST_PX:,}"
        )
    cv2 = _opencv()
    nose_x, nose_y = landmarks[_NOSE]
    for point, ((x, y), colour) in enumerate(zip(landmarks, _KEYPOINT_COLOURS, strict=True)):
        if point == _NOSE:
            continue
        length = ((x - nose_x) ** 2 + (y - nose_y) ** 2) ** 0.5
        angle_deg = math.degrees(math.atan2(y - nose_y, x - nose_x))
        limb = cv2.ellipse2Poly(
            (int((x + nose_x) / 2), int((y + nose_y) / 2)),
            (int(length / 2), _LIMB_HALF_WIDTH_PX),
            int(angle_deg),
            0,
            360,
            1,
        )
        cv2.fillConvexPoly(image, limb, [int(value * _LIMB_BRIGHTNESS) for value in colour])
    for (x, y), colour in zip(landmarks, _KEYPOINT_COLOURS, strict=True):
        cv2.circle(image, (int(x), int(y)), _KEYPOINT_RADIUS_PX, colour, -1)
    return image


def draw_like_insightface(image: np.ndarray, faces: Sequence[Any]) -> np.ndarray:
    """Draws faces as `FaceAnalysis.draw_on` of InsightFace does, pixel for pixel.

    Args:
        image: `[H,W,3]` uint8 BGR.
        faces: With `bbox` `[4]`, `kps` `[5,2]` or None, and `gender`, `sex`, `age` or None.

    Returns:
        `[H,W,3]` uint8 BGR.

    Raises:
        BackendUnavailable: OpenCV is not installed.

    Source:
        insightface 2.1, `app/face_analysis.py`.
    """
    cv2 = _opencv()
    red, green = (0, 0, 255), (0, 255, 0)
    picture = image.copy()
    for face in faces:
        left, top, right, bottom = face.bbox.astype(int).tolist()
        cv2.rectangle(picture, (left, top), (right, bottom), red, 2)
        for point, centre in enumerate([] if face.kps is None else face.kps.astype(int).tolist()):
            is_left_eye_or_mouth_corner = point in (0, 3)
            cv2.circle(picture, centre, 1, green if is_left_eye_or_mouth_corner else red, 2)
        if face.gender is not None and face.age is not None:
            label, above = f"{face.sex},{int(face.age)}", (left - 1, top - 4)
            cv2.putText(picture, label, above, cv2.FONT_HERSHEY_COMPLEX, 0.7, green, 1)
    return picture


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise BackendUnavailable(
            "this picture is drawn by OpenCV, which is not installed; "
            "run `pip install opencv-python-headless` in ComfyUI's Python"
        ) from error
    return cv2


def annotate(
    image: np.ndarray,
    faces: Faces,
    labels: Sequence[str] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
) -> np.ndarray:
    """Draws boxes, landmarks and labels of faces on a copy of a picture, at any resolution.

    Args:
        image: `[H,W,3]` uint8 RGB.
        faces: The faces of this one image, in its pixels.
        labels: One text a face; the default is its number, from 0, and its name where one is known,
            else its score.
        colours: RGB of the box and label of each face; the default is one for all.

    Returns:
        `[H,W,3]` uint8 RGB.

    Raises:
        InvalidInput: Not such an image, faces of several images, or not one label a face.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InvalidInput(
            f"got {image.dtype} image of shape {image.shape}, expected uint8 [H,W,3]"
        )
    if len(faces.image_sizes) > 1:
        raise InvalidInput(
            f"got faces of {len(faces.image_sizes)} images; pick those of one with of_image"
        )
    if labels is None:
        known = zip(faces.names_of_faces(), faces.scores.tolist(), strict=True)
        labels = [f"{i}: {name or f'{score:.2f}'}" for i, (name, score) in enumerate(known)]
    if len(labels) != len(faces):
        raise InvalidInput(f"got {len(labels)} labels for {len(faces)} faces")
    if len(faces) == 0:
        return image.copy()
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    boxes = faces.boxes.tolist()
    landmarks = [[]] * len(faces) if faces.landmarks is None else faces.landmarks.tolist()
    colours = [_BOX_COLOUR] * len(faces) if colours is None else colours
    for box, points, colour in zip(boxes, landmarks, colours, strict=True):
        _draw_box(pen, box, colour)
        _draw_landmarks(pen, points, box[2] - box[0])
    # All labels last: no box may cross one.
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        _draw_label(pen, label, box, colour)
    return np.asarray(picture)


def _scale(pen: ImageDraw.ImageDraw) -> float:
    """Side of the picture over that of one megapixel."""
    width, height = pen.im.size
    return math.sqrt(width * height) / 1000


def _line_px(pen: ImageDraw.ImageDraw) -> int:
    return max(1, round(_LINE_PX * _scale(pen)))


def _draw_box(pen: ImageDraw.ImageDraw, box: Sequence[float], colour: tuple[int, int, int]) -> None:
    width, height = pen.im.size
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width - 1, round(box[2])), min(height - 1, round(box[3]))
    if left > right or top > bottom:
        return
    line = _line_px(pen)
    rim = max(1, line // 3)
    pen.rectangle(
        (left - rim, top - rim, right + rim, bottom + rim),
        outline=_OUTLINE_COLOUR,
        width=line + 2 * rim,
    )
    pen.rectangle((left, top, right, bottom), outline=colour, width=line)


def _draw_landmarks(
    pen: ImageDraw.ImageDraw, points: Sequence[Sequence[float]], face_width: float
) -> None:
    wanted = max(_DOT_RADIUS_PX * _scale(pen), _SMALLEST_DOT_RADIUS_PX)
    radius = max(1, round(min(wanted, face_width / _DOTS_ACROSS_A_FACE / 2)))
    rim = max(1, radius // 4) if radius > 1 else 0
    for (x, y), colour in zip(points, _KEYPOINT_COLOURS, strict=False):
        for r, fill in ((radius + rim, _OUTLINE_COLOUR), (radius, colour)):
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _draw_label(
    pen: ImageDraw.ImageDraw, label: str, box: Sequence[float], colour: tuple[int, int, int]
) -> None:
    width, height = pen.im.size
    smallest, largest = _SMALLEST_TEXT_PX * _scale(pen), _LARGEST_TEXT_PX * _scale(pen)
    wanted = min(max((box[3] - box[1]) / 5, smallest), largest)
    size = max(_READABLE_TEXT_PX, round(wanted))
    left, top, right, bottom = _text_box(pen, label, size)
    room = min(width / max(1, right - left), height / max(1, bottom - top))
    if room < 1:
        size = math.floor(size * room)
        if size < _LEGIBLE_TEXT_PX:
            return
        left, top, right, bottom = _text_box(pen, label, size)
    gap = _line_px(pen)
    y = box[1] - gap - (bottom - top)
    if y < 0:  # no room above the box: inside it, at its top
        y = max(0, box[1]) + 2 * gap
    x = min(max(0, box[0]), width - (right - left))
    y = min(y, height - (bottom - top))
    pen.text(
        (max(0, x) - left, max(0, y) - top),
        label,
        fill=colour,
        font=_font(size),
        stroke_width=_text_rim(size),
        stroke_fill=_OUTLINE_COLOUR,
    )


def _text_box(pen: ImageDraw.ImageDraw, label: str, size: int) -> tuple[float, float, float, float]:
    return pen.textbbox((0, 0), label, font=_font(size), stroke_width=_text_rim(size))


def _text_rim(size: int) -> int:
    return max(1, size // 8)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)

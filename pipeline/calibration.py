"""Pictures that cheaper precisions are calibrated on, and others that they are proved on."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ..utils.errors import InvalidInput
from ..utils.file_kinds import SIGNATURE_BYTES, kind_of
from ..utils.images import Images
from ..utils.pictures import example_photo, packaged_photo, read_picture
from ..utils.settings import settings

#: Pictures of a folder that are looked at, spread evenly over its names.
_MOST_PICTURES = 24
#: Fewer tell too little: they are shown at other sizes, mirrored and darker besides.
_ENOUGH_PICTURES = 8
#: Longer pictures are scaled down to it: detectors look at 640 pixels.
_LONGEST_SIDE = 1600
#: Brightness of the darker views.
_DARKER = 0.6


@dataclass(frozen=True)
class CalibrationPictures:
    """Pictures with faces, of which no two are alike.

    Attributes:
        calibrating: `[H,W,3]` uint8 RGB each.
        held_back: Others.
        digest: Of their pixels.
        source: What they are, for people.
    """

    calibrating: tuple[np.ndarray, ...]
    held_back: tuple[np.ndarray, ...]
    digest: str
    source: str


def as_images(pictures: Sequence[np.ndarray]) -> Images:
    """Pictures `[H,W,3]` uint8 RGB as images."""
    return Images.from_comfy([torch.from_numpy(picture)[None] for picture in pictures])


def calibration_pictures() -> CalibrationPictures:
    """Those of the folder FASTFACE_CALIBRATION, or the photos that are here anyway.

    Raises:
        InvalidInput: There is no such folder, or no picture in it.
    """
    folder = settings().calibration
    if folder:
        pictures, source = _of_folder(Path(folder)), f"pictures of {folder}"
    else:
        pictures, source = _packaged(), "the photos that come with the pack and insightface"
    if len(pictures) < _ENOUGH_PICTURES:
        views = [view for picture in pictures for view in _views(picture)]
    else:
        views = pictures
    digest = hashlib.sha256()
    for view in views:
        digest.update(repr(view.shape).encode())
        digest.update(np.ascontiguousarray(view).data)
    return CalibrationPictures(
        tuple(views[::2]), tuple(views[1::2]), digest.hexdigest()[:32], source
    )


def _packaged() -> list[np.ndarray]:
    pictures = [read_picture(example_photo())]
    with contextlib.suppress(InvalidInput):  # insightface is up to users
        pictures.append(read_picture(packaged_photo()))
    return [_fitted(picture) for picture in pictures]


def _of_folder(folder: Path) -> list[np.ndarray]:
    """
    Raises:
        InvalidInput: It is no folder, or has no picture that can be read.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"FASTFACE_CALIBRATION is {folder}, which is no folder; name one with pictures of "
            "faces, or unset it"
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and _is_picture(path))
    step = max(1, len(files) // _MOST_PICTURES)
    pictures = []
    for file in files[::step][:_MOST_PICTURES]:
        try:
            pictures.append(_fitted(read_picture(file)))
        except InvalidInput:
            continue  # others of the folder will do
    if not pictures:
        raise InvalidInput(
            f"FASTFACE_CALIBRATION is {folder}, in which no picture can be read; expected pictures "
            "of faces, such as JPEG or PNG files"
        )
    return pictures


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as start:
            kind = kind_of(start.read(SIGNATURE_BYTES))
    except OSError:
        return False
    return kind.is_picture


def _fitted(picture: np.ndarray) -> np.ndarray:
    share = _LONGEST_SIDE / max(picture.shape[:2])
    return picture if share >= 1 else _scaled(picture, share)


def _scaled(picture: np.ndarray, share: float) -> np.ndarray:
    return cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def _views(picture: np.ndarray) -> Iterator[np.ndarray]:
    """A picture at several sizes, so that its faces are large and small; no two are alike."""
    height, width = picture.shape[:2]
    mirrored = picture[:, ::-1]
    darker = (picture * _DARKER).astype(np.uint8)
    half, half_mirrored = _scaled(picture, 0.5), _scaled(np.ascontiguousarray(mirrored), 0.5)
    top, left = height // 4, width // 4
    yield picture
    yield np.ascontiguousarray(darker[:, ::-1])
    yield np.tile(half, (2, 2, 1))
    yield np.tile(half_mirrored, (2, 2, 1))
    yield np.ascontiguousarray(picture[top : height - top, left : width - left])
    yield np.ascontiguousarray(mirrored[top : height - top, left : width - left])
    yield np.ascontiguousarray(darker[: height // 2, : width // 2])
    yield np.ascontiguousarray(mirrored[: height // 2, : width // 2])

"""Films made of photos: a camera that pans and zooms over them and cuts between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.tracks import NO_TRACK, FilmSource, Tracks
from tests.photos import read_bgr

RATE = 25
SIZE_HW = (360, 640)
#: Levels of noise that a camera adds to each pixel.
_NOISE = 2.0


@dataclass(frozen=True)
class Shot:
    """A part of a film: a window that moves over a photo at a steady speed.

    Attributes:
        photo: Name of the photo.
        begin, end: The window at its first and last frame: centre x, y and width in pixels of the
            photo.
        frames: How many.
    """

    photo: str
    begin: tuple[float, float, float]
    end: tuple[float, float, float]
    frames: int

    def windows(self) -> Iterator[tuple[float, float, float]]:
        for share in np.linspace(0, 1, self.frames):
            x, y, width = (
                first + share * (last - first)
                for first, last in zip(self.begin, self.end, strict=True)
            )
            yield x, y, width


@dataclass(frozen=True)
class PhotoFilm:
    """A film of photos, and who is who in it.

    Attributes:
        frames: `[B,H,W,3]` uint8 RGB.
        matrices: `[2,3]` from the photo's pixels to the frame's, for each frame.
        photos: The photo of each frame.
        cuts: Frames that begin another shot.
    """

    frames: np.ndarray
    matrices: tuple[np.ndarray, ...]
    photos: tuple[str, ...]
    cuts: tuple[int, ...]


def film_of(shots: Sequence[Shot], folder: Path, seed: int = 0) -> PhotoFilm:
    """Renders shots, with the noise of a camera."""
    rng = np.random.default_rng(seed)
    photos = {shot.photo: read_bgr(folder / shot.photo) for shot in shots}
    frames, matrices, names = [], [], []
    height, width = SIZE_HW
    for shot in shots:
        for x, y, across in shot.windows():
            scale = width / across
            matrix = np.array(
                [[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]]
            )
            # Smaller by averages, as a lens does it, then cut out.
            photo = photos[shot.photo]
            small = min(1.0, scale)
            reduced = cv2.resize(photo, None, fx=small, fy=small, interpolation=cv2.INTER_AREA)
            rest = matrix @ np.diag([1 / small, 1 / small, 1.0])
            picture = cv2.warpAffine(reduced, rest, (width, height))[..., ::-1].astype(np.float32)
            picture += rng.normal(0, _NOISE, picture.shape)
            frames.append(picture.round().clip(0, 255).astype(np.uint8))
            matrices.append(matrix)
            names.append(shot.photo)
    cuts = np.cumsum([shot.frames for shot in shots])[:-1].tolist()
    return PhotoFilm(np.stack(frames), tuple(matrices), tuple(names), tuple(cuts))


def faces_in(film: PhotoFilm, app: FaceAnalysis, embedded: bool = True) -> Faces:
    images = Images.from_comfy(torch.from_numpy(film.frames))
    return app.analyze(images, ["recognition"] if embedded else [])


def tracks_in(film: PhotoFilm, faces: Faces, told_of_cuts: bool = False) -> Tracks:
    count = len(film.frames)
    source = FilmSource(None, SIZE_HW, 0, Fraction(RATE), "photos")
    times = [frame / RATE for frame in range(count)]
    cuts = film.cuts if told_of_cuts else ()
    return link(faces, times, range(count), source, cuts=cuts)


def people_in(film: PhotoFilm, faces: Faces) -> list[tuple[str, int]]:
    """Who each face is: its photo, and the number of its place there, by where it comes from."""
    people: list[tuple[str, int]] = []
    places: dict[str, list[np.ndarray]] = {}
    boxes = faces.boxes.numpy()
    for row, image in enumerate(faces.images_of_faces()):
        matrix, photo = film.matrices[image], film.photos[image]
        left, top, right, bottom = boxes[row]
        scale = matrix[0, 0]
        centre = (np.array([(left + right) / 2, (top + bottom) / 2]) - matrix[:, 2]) / scale
        side = float(np.sqrt((right - left) * (bottom - top))) / scale
        known = places.setdefault(photo, [])
        near = [i for i, place in enumerate(known) if np.abs(place - centre).max() < 0.4 * side]
        if not near:
            known.append(centre)
        people.append((photo, near[0] if near else len(known) - 1))
    return people


def switches(tracks: Tracks, people: Sequence[tuple[str, int]]) -> int:
    """How often a track goes on with another person than the one it had before."""
    count = 0
    before: dict[int, tuple[str, int]] = {}
    for track, person in zip(tracks.ids.tolist(), people, strict=True):
        if track == NO_TRACK:
            continue
        count += before.setdefault(track, person) != person
        before[track] = person
    return count

"""`PeopleOfFilm`: what FastFace Tracks gives of some tracks, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils import host
from ...utils.errors import InvalidInput
from ...utils.faces import Faces
from ...utils.host.film_outputs import film_output, new_film
from ...utils.images import floating_rgb
from ...utils.masks import face_masks
from ...utils.progress import advance
from ...utils.tracks.best import best_rows
from ...utils.tracks.shown import (
    Filling,
    crops_shown,
    faces_shown,
    keypoint_pictures,
    shown_at,
)
from ...utils.tracks.timeline import TrackLine
from ...utils.tracks.track_films import write_annotated_film, write_keypoint_film
from ...utils.tracks.tracks import Tracks
from ...utils.video.film import FilmFile
from ...utils.video.frames import Frames, ImageFrames
from ...utils.video.video_objects import film_of_video, sound_of_video
from ..socket_checks import readable_images
from ..sockets import (
    or_blocked,
)


class PeopleOfFilm:
    """What a node gives of some tracks, made when it is asked for."""

    def __init__(
        self,
        tracks: Tracks,
        lines: list[TrackLine],
        filling: Filling,
        images: Tensor | None,
        video: Any,
    ) -> None:
        self._tracks = tracks
        self._lines = lines
        self._filling = filling
        self._images = images
        self._video = video

    @cached_property
    def faces(self) -> Faces:
        return faces_shown(self._tracks, self._lines, self._filling)

    def keypoints(self) -> Any:
        tracks, times = self._tracks, np.asarray(self._tracks.times, np.float64)
        shown = shown_at(tracks, self._lines, times, self._filling)
        batch = torch.zeros(len(times), *tracks.source.size_hw, 3, dtype=torch.float32)
        for place, picture in enumerate(
            keypoint_pictures(shown, len(times), tracks.source.size_hw)
        ):
            batch[place] = torch.from_numpy(picture).float() / 255
            advance((place + 1) / len(times))
        return or_blocked(batch)

    def mask(self, shape: str) -> Any:
        return or_blocked(face_masks(self.faces, self._tracks.source.size_hw, shape))

    def crops(self, size: int, padding: float) -> Any:
        if not self._lines:
            return or_blocked(torch.zeros(0, size, size, 3))
        film = self._film("crops")
        return or_blocked(
            crops_shown(self._tracks, self._lines, film, self._filling, size, padding)
        )

    def keypoint_video(self) -> Any:
        film = self._film_if_any
        return self._written(
            lambda path, sound: write_keypoint_film(
                path, self._tracks, self._lines, self._filling, film, sound
            )
        )

    def annotated_video(self) -> Any:
        film = self._film("annotated_video")
        return self._written(
            lambda path, sound: write_annotated_film(
                path, self._tracks, self._lines, self._filling, film, sound
            )
        )

    def _written(self, write: Callable[[Path, Path | bytes | None], None]) -> Any:
        if not self._tracks.frames:
            return host.blocked(None)
        path = new_film()
        write(path, self._sound())
        return film_output(path)

    @cached_property
    def _best(self) -> list[int]:
        ids = [line.track for line in self._lines]
        return best_rows(self._tracks, ids, self._film("best_faces"))

    def best_faces(self) -> Faces:
        if not self._lines:
            return self._tracks.faces[:0].of_images(())
        faces = self._tracks.faces[self._best]
        index = torch.arange(len(faces), device=faces.device)
        places = tuple(range(len(faces)))
        sizes = tuple(faces.image_sizes[image] for image in faces.images_of_faces())
        faces = replace(faces, image_index=index, image_list=places, image_sizes=sizes)
        return self._tracks.named(faces, [line.track for line in self._lines])

    def best_images(self) -> Any:
        if not self._lines:
            return or_blocked(torch.zeros(0, *self._tracks.source.size_hw, 3))
        image_of_face = self._tracks.faces.images_of_faces()
        numbers = [self._tracks.frames[image_of_face[row]] for row in self._best]
        batch = torch.zeros(len(numbers), *self._tracks.source.size_hw, 3, dtype=torch.float32)
        for frame in self._film("best_images").read(np.unique(numbers)):
            pixels = floating_rgb(frame.pixels[None])[0].float().cpu()
            for place in np.flatnonzero(np.asarray(numbers) == frame.number).tolist():
                batch[place] = pixels
        return or_blocked(batch)

    def _film(self, output: str) -> Frames:
        """The frames themselves.

        Raises:
            InvalidInput: They are not at hand, not those of the tracks, or hold NaN or infinity.
        """
        film = self._film_if_any
        if film is None:
            raise InvalidInput(
                f"{output} needs the frames, and these tracks are of an IMAGE batch or of a film "
                "that has no file; connect that batch to images, or that film to video"
            )
        return film

    @cached_property
    def _film_if_any(self) -> Frames | None:
        source = self._tracks.source
        if self._images is not None:
            readable_images(self._images)
            film: Frames = ImageFrames(self._images, source.average_rate)
        elif source.path is not None:
            film = FilmFile(Path(source.path))
        elif self._video is not None:
            film = film_of_video(self._video).frames
        else:
            return None
        if self._images is None and source.content and film.content != source.content:
            raise InvalidInput(
                "got another film than the one these tracks are of, or it was changed since; run "
                "FastFace Video again"
            )
        least = max(self._tracks.frames, default=-1) + 1
        if film.size_hw != source.size_hw or len(film.times) < least:
            (height, width), (high, wide) = film.size_hw, source.size_hw
            raise InvalidInput(
                f"got {len(film.times)} frames of {width} x {height}, expected those of the "
                f"tracks: at least {least} of {wide} x {high}; connect the film or batch that "
                "went into FastFace Video"
            )
        return film

    def _sound(self) -> Path | bytes | None:
        """What has the sound of the film."""
        if self._tracks.source.path is not None:
            return Path(self._tracks.source.path)
        return None if self._video is None else sound_of_video(self._video)

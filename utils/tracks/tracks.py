"""`Tracks`: who is who over the frames of a film."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from ..errors import InvalidInput
from ..faces import Faces

#: The id of a face that belongs to no track.
NO_TRACK = -1


@dataclass(frozen=True)
class FilmSource:
    """Where frames come from.

    Attributes:
        path: The film file; None for an IMAGE batch or a film that has no file.
        size_hw: Height and width of the frames as displayed, in pixels: after the rotation.
        rotation: Degrees by which the stored frames are turned counterclockwise for display: 0,
            90, 180 or 270.
        average_rate: Frames a second of the whole film, on average.
        content: Hash of what the film holds: the same for the same film under any name.

    Raises:
        InvalidInput: A size or a rate that no film has.
    """

    path: str | None
    size_hw: tuple[int, int]
    rotation: int
    average_rate: Fraction
    content: str

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1 or self.average_rate <= 0:
            raise InvalidInput(
                f"FilmSource: got frames of {self.size_hw[1]} x {self.size_hw[0]} at "
                f"{self.average_rate} a second, expected at least 1 x 1, and more than 0"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Tracks:
    """Faces of a film, and which of them are of one person. Frozen, and nothing in it changes.

    Attributes:
        faces: All faces of all analysed frames; image i is the i-th analysed frame.
        ids: `[N]` int64 on the faces' device, the track of each face; `NO_TRACK` for none. No two
            faces of one frame have the same.
        frames: The number in the film, from 0, of each analysed frame, rising.
        times: When each of them is shown, in seconds from the film's beginning, never falling.
        source: Where the frames come from.
        names: Names of some of the tracks.

    Raises:
        InvalidInput: Numbers of frames, times, images, ids and faces that don't fit together.
    """

    faces: Faces
    ids: Tensor
    frames: tuple[int, ...]
    times: tuple[float, ...]
    source: FilmSource
    names: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        images = len(self.faces.image_sizes)
        if not len(self.frames) == len(self.times) == images:
            raise InvalidInput(
                f"Tracks: got {len(self.frames)} frames and {len(self.times)} times for faces of "
                f"{images} images, expected one of each an image"
            )
        if not all(first < second for first, second in pairwise(self.frames)):
            raise InvalidInput("Tracks.frames: got numbers that don't rise, expected them to")
        rising = all(first <= second for first, second in pairwise(self.times))
        if not rising or not all(map(math.isfinite, self.times)):
            raise InvalidInput(
                "Tracks.times: got seconds that fall or are not finite, expected none that do"
            )
        if tuple(self.ids.shape) != (len(self.faces),) or self.ids.dtype != torch.int64:
            raise InvalidInput(
                f"Tracks.ids: got {self.ids.dtype} of shape {tuple(self.ids.shape)}, expected "
                f"int64 [{len(self.faces)}], one a face"
            )
        if self.ids.device != self.faces.device:
            raise InvalidInput(
                f"Tracks.ids: got device {self.ids.device}, but the faces are on "
                f"{self.faces.device}; move both to one device"
            )

    def __repr__(self) -> str:
        """One line that reads no device."""
        seconds = f", {self.times[0]:.2f} to {self.times[-1]:.2f} s" if self.times else ""
        return (
            f"Tracks({len(self.faces)} face(s) in {len(self.frames)} frame(s){seconds} of "
            f"{Path(self.source.path).name if self.source.path else 'an IMAGE batch'} "
            f"on {self.faces.device})"
        )

    def track_ids(self) -> list[int]:
        """The ids of all tracks, rising. Reads the device."""
        return [number for number in self.ids.unique().tolist() if number != NO_TRACK]

    def named(self, faces: Faces, of_face: Sequence[int]) -> Faces:
        """Faces with the names of the tracks they are of; as they are where no track has a name."""
        if not self.names:
            return faces
        return faces.with_names([self.names.get(track) for track in of_face])

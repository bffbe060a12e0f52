"""A second opinion: what was seen is cut out, upright and of middle size, and detected again.

A face is a face there too, and its score no longer depends on how large or how turned it was. Most
of what only looks like a face in one turned view is gone. Its landmarks are better there, too:
between two quarter turns those of the first sighting are off by a tenth of the distance between the
eyes, which takes the embedding far from that of the upright photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...backends.interfaces import DetectionOptions
from ...utils.align import (
    apply_affine,
    arcface_template,
    crop_faces,
    invert_affine,
    similarity_transform,
)
from ...utils.devices import uploaded, widest_float
from ...utils.faces import Faces
from ...utils.free_memory import images_at_once
from ...utils.images import ImageBatch, Images
from .types import DetectBatches
from .views import Detections, on_host

#: Side in pixels of the aligned face that is shown to the detector, and of the picture around it.
FACE_PX = 112
_SIDE = 256
#: Sides at which a small face is shown. Its landmarks are off by a share of the detector's grid,
#: each time in another direction: their mean is nearer than most.
_STEADYING_PX = (70, 84, 98, 112)
#: A face seen again lies no further from the middle than this, in sides of the aligned face.
_FURTHEST = 0.25


@dataclass(frozen=True)
class Redetection:
    """What sightings look like when each is looked at again on its own, on the CPU.

    Attributes:
        scores: `[N]` float32; 0 where no face is seen any more.
        landmarks: `[N,5,2]` float32 in pixels of the images; the sighting's where none is seen.
        turned_scores: `[N]` float32, the best score at the three other quarter turns; 0 where no
            face is seen at these, or they were not asked for.
    """

    scores: Tensor
    landmarks: Tensor | None
    turned_scores: Tensor

    @property
    def better_turned(self) -> Tensor:
        """`[N]` bool, where the landmarks are refuted: the face is upright at another turn."""
        return self.turned_scores > self.scores


def look_again(
    images: Images,
    found: Detections,
    options: DetectionOptions,
    detect_batches: DetectBatches,
    device: torch.device,
    face_px: Tensor | None = None,
    turned: Tensor | None = None,
) -> Redetection:
    """Shows each sighting to the detector once more, cut out and upright.

    A detector may see an upright face in one that is upside down, the mouth for the eyes. Its score
    can't tell: shown at all four quarter turns, the true one scores best.

    Args:
        images: In which they were seen.
        found: Without landmarks nothing is seen again: it takes them to cut out a face.
        options: Of the first pass.
        detect_batches: See `DetectBatches`.
        device: The detector's.
        face_px: `[N]` int64, how large each is shown: the side of the aligned face in pixels.
            `FACE_PX` where not given.
        turned: `[N]` bool, which are shown at the other quarter turns as well; none where not
            given.
    """
    scores, turned_scores = torch.zeros(2, len(found.scores), dtype=torch.float32)
    if found.landmarks is None or not len(scores):
        return Redetection(scores, found.landmarks, turned_scores)
    landmarks = found.landmarks.clone()
    sides = torch.full_like(found.image, FACE_PX) if face_px is None else face_px
    target = _SIDE / 2 + (arcface_template(FACE_PX) / FACE_PX - 0.5) * sides[:, None, None]
    matrices = similarity_transform(found.landmarks, target)
    back = invert_affine(matrices)
    also = torch.zeros(0, dtype=torch.int64) if turned is None else turned.nonzero()[:, 0]
    #: Which sighting each crop is of; the upright ones come first.
    sighting = torch.cat((torch.arange(len(scores)), also.repeat(3)))
    matrices = torch.cat(
        (matrices, *(turned_crops(matrices[also], turn, _SIDE) for turn in (1, 2, 3)))
    )
    count = images_at_once(device, (_SIDE, _SIDE), _SIDE * _SIDE)
    groups = torch.arange(len(sighting)).split(count)
    makers = [
        partial(_crops, images, found.image[sighting[crops]], matrices[crops], device)
        for crops in groups
    ]
    # Half a threshold: how far it fell short matters.
    low = replace(
        options, sizes_wh=((_SIDE, _SIDE),), threshold=options.threshold / 2, robust=False
    )
    for crops, faces in zip(groups, detect_batches(makers, low), strict=True):
        places, points, seen = _in_the_middle(faces)
        rows, upright = sighting[crops[places]], crops[places] < len(scores)
        scores[rows[upright]] = seen[upright]
        turned_scores.scatter_reduce_(0, rows[~upright], seen[~upright], "amax")
        if points is not None:
            rows, points = rows[upright], points[upright]
            landmarks[rows] = apply_affine(back[rows], points.to(back)).float()
    return Redetection(scores, landmarks, turned_scores)


def steady_landmarks(
    images: Images,
    found: Detections,
    small: Tensor,
    options: DetectionOptions,
    detect_batches: DetectBatches,
    device: torch.device,
) -> Tensor | None:
    """Landmarks of faces, those of the small ones the mean of what is seen at several sizes.

    Args:
        images: In which they were seen.
        found: With landmarks that are nearly right: by them the faces are cut out, upright.
        small: `[N]` bool, which to look at.
        options: Of the first pass.
        detect_batches: See `DetectBatches`.
        device: The detector's.

    Returns:
        `[N,5,2]` float32 in pixels of the images; a size at which a face is not seen counts with
        the landmarks it was cut out by. None where `found` has none.
    """
    if found.landmarks is None:
        return None
    sizes, rows = len(_STEADYING_PX), small.nonzero()[:, 0]
    face_px = torch.tensor(_STEADYING_PX).repeat_interleave(len(rows))
    often = found.at(rows.repeat(sizes))
    seen = look_again(images, often, options, detect_batches, device, face_px).landmarks
    if seen is None:
        return found.landmarks
    landmarks = found.landmarks.clone()
    landmarks[rows] = seen.unflatten(0, (sizes, len(rows))).mean(0)
    return landmarks


def turned_crops(matrices: Tensor, turn: int, side: int) -> Tensor:
    """Affine `[N,2,3]` whose crops of a side are turned counter-clockwise by so many quarters."""
    turned = matrices.clone()
    for _ in range(turn):
        x, y = turned.unbind(1)
        # The corner of a picture that was turned is a corner again: x becomes side - 1 - x.
        x = torch.cat((-x[:, :2], side - 1 - x[:, 2:]), 1)
        turned = torch.stack((y, x), 1)
    return turned


def _crops(images: Images, image: Tensor, matrices: Tensor, device: torch.device) -> ImageBatch:
    places: Sequence[int] = image.tolist()
    return crop_faces(images, places, uploaded(matrices.to(widest_float(device)), device), _SIDE)


def _in_the_middle(faces: Faces) -> tuple[list[int], Tensor | None, Tensor]:
    """The crops in whose middle a face is seen; landmarks and scores of the best one in each."""
    boxes, scores, landmarks = on_host(faces)
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - _SIDE / 2
    near = (offset.norm(dim=1) <= _FURTHEST * FACE_PX).tolist()
    # Faces come best first, so the first one near the middle of a crop is its best.
    best: dict[int, int] = {}
    for row, crop in enumerate(faces.images_of_faces()):
        if near[row]:
            best.setdefault(crop, row)
    rows = list(best.values())
    return list(best), None if landmarks is None else landmarks[rows], scores[rows]

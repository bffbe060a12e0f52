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

from ...utils.align import (
    apply_affine,
    arcface_template,
    crop_faces,
    invert_affine,
    similarity_transform,
)
from ...utils.devices import uploaded, widest_float
from ...utils.faces import Faces
from ...utils.images import ImageBatch, Images
from ..interfaces import DetectionOptions
from ..pieces import images_at_once
from .looks import Sightings, on_host
from .types import DetectBatches

#: Side in pixels of the aligned face that is shown to the detector, and of the picture around it.
FACE_PX = 112
_SIDE = 256
#: Sides at which a small face is shown. Its landmarks are off by a share of the detector's grid,
#: each time in another direction: their mean is nearer than most.
_STEADYING_PX = (70, 84, 98, 112)
#: A face seen again lies no further from the middle than this, in sides of the aligned face.
_FURTHEST = 0.25


@dataclass(frozen=True)
class SecondSight:
    """What sightings look like when each is looked at again on its own, on the CPU.

    Attributes:
        scores: `[N]` float32; 0 where no face is seen any more.
        landmarks: `[N,5,2]` float32 in pixels of the images; the sighting's where none is seen.
    """

    scores: Tensor
    landmarks: Tensor | None


def look_again(
    images: Images,
    found: Sightings,
    options: DetectionOptions,
    detect_batches: DetectBatches,
    device: torch.device,
    face_px: Tensor | None = None,
) -> SecondSight:
    """Shows each sighting to the detector once more, cut out and upright.

    Args:
        images: In which they were seen.
        found: Without landmarks nothing is seen again: it takes them to cut out a face.
        options: Of the first pass.
        detect_batches: See `DetectBatches`.
        device: The detector's.
        face_px: `[N]` int64, how large each is shown: the side of the aligned face in pixels.
            `FACE_PX` where not given.
    """
    scores = torch.zeros(len(found.scores))
    if found.landmarks is None or not len(scores):
        return SecondSight(scores, found.landmarks)
    landmarks = found.landmarks.clone()
    sides = torch.full_like(found.image, FACE_PX) if face_px is None else face_px
    target = _SIDE / 2 + (arcface_template(FACE_PX) / FACE_PX - 0.5) * sides[:, None, None]
    matrices = similarity_transform(found.landmarks, target)
    back = invert_affine(matrices)
    count = images_at_once(device, (_SIDE, _SIDE), _SIDE * _SIDE)
    groups = torch.arange(len(scores)).split(count)
    makers = [partial(_crops, images, found.image[rows], matrices[rows], device) for rows in groups]
    # Half a threshold: how far it fell short matters.
    low = replace(
        options, sizes_wh=((_SIDE, _SIDE),), threshold=options.threshold / 2, robust=False
    )
    for rows, faces in zip(groups, detect_batches(makers, low), strict=True):
        crop, points, seen = _in_the_middle(faces)
        scores[rows[crop]] = seen
        if points is not None:
            landmarks[rows[crop]] = apply_affine(back[rows[crop]], points.to(back)).float()
    return SecondSight(scores, landmarks)


def steady_landmarks(
    images: Images,
    found: Sightings,
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

"""A second opinion: what was seen is cut out, upright and of middle size, and detected again.

A face is a face there too, and its score no longer depends on how large or how turned it was. Most
of what only looks like a face in one turned view is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ...utils.align import arcface_template, crop_faces, similarity_transform
from ...utils.devices import uploaded, widest_float
from ...utils.faces import Faces
from ...utils.images import ImageBatch, Images
from ..base import DetectionOptions
from ..pieces import images_at_once
from .looks import Sightings, on_host
from .types import DetectBatches

#: Side in pixels of what is shown to the detector, and of the aligned face in its middle.
_SIDE, _FACE = 256, 112
#: A face seen again lies no further from the middle than this, in sides of the aligned face.
_FURTHEST = 0.25


def confirmed_scores(
    images: Images,
    found: Sightings,
    options: DetectionOptions,
    detect_batches: DetectBatches,
    device: torch.device,
) -> Tensor:
    """Scores of sightings when they are looked at again, each on its own.

    Args:
        images: In which they were seen.
        found: With landmarks.
        options: Of the first pass.
        detect_batches: See `DetectBatches`.
        device: The detector's.

    Returns:
        `[N]` float32 on the CPU; 0 where no face is seen any more.
    """
    scores = torch.zeros(len(found.scores))
    if found.landmarks is None or not len(scores):
        return scores
    target = arcface_template(_FACE) + (_SIDE - _FACE) / 2
    matrices = similarity_transform(found.landmarks, target)
    count = images_at_once(device, (_SIDE, _SIDE), _SIDE * _SIDE)
    groups = torch.arange(len(scores)).split(count)
    makers = [partial(_crops, images, found.image[rows], matrices[rows], device) for rows in groups]
    # Half a threshold: how far it fell short matters.
    low = replace(
        options, sizes_wh=((_SIDE, _SIDE),), threshold=options.threshold / 2, robust=False
    )
    for rows, faces in zip(groups, detect_batches(makers, low), strict=True):
        scores[rows] = _scores_in_the_middle(faces, len(rows))
    return scores


def _crops(images: Images, image: Tensor, matrices: Tensor, device: torch.device) -> ImageBatch:
    places: Sequence[int] = image.tolist()
    return crop_faces(images, places, uploaded(matrices.to(widest_float(device)), device), _SIDE)


def _scores_in_the_middle(faces: Faces, crops: int) -> Tensor:
    boxes, scores, _ = on_host(faces)
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - _SIDE / 2
    near = offset.norm(dim=1) <= _FURTHEST * _FACE
    image = torch.tensor(faces.images_of_faces(), dtype=torch.int64)
    return torch.zeros(crops).scatter_reduce_(0, image[near], scores[near], "amax")

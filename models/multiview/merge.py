"""Which sightings of one image are faces, and which of several sightings of one face to believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...backends.interfaces import DetectionOptions
from ...utils.align import apply_affine, arcface_template, similarity_transform
from ...utils.boxes import box_areas, overlaps
from .views import Detections

#: A face may lean this far at the turn at which it is seen; more, and another turn suits it better.
_MOST_LEAN_DEG = 70.0
#: Landmarks further than this from those of any face, over their spread, are no face's.
_MOST_MISFIT = 0.5
#: A sure face stands like one, with landmarks like one.
_SURE_LEAN_DEG, _SURE_MISFIT = 40.0, 0.25
#: In an image as it is, such a face is believed this much more in score than one in a turned image:
#: at high zoom a sideways part of a face can outscore the upright whole.
_UPRIGHT_LEAN_DEG, _UPRIGHT_MISFIT, _UPRIGHT_BONUS = 30.0, 0.2, 0.05
#: Of two sightings at different scales or turns that share this much of the smaller one, one is
#: a part of the other, or the same.
_SHARED = 0.6
#: A sure score lies this far from the threshold towards 1; that of a face that was not seen at
#: first must lie this far, on average of both sightings: more looks are more chances to err.
_SURE_SHARE, _MARGIN_SHARE = 0.3, 0.1
#: Upright faces are reported with up to 0.77 (threshold 0.5) in faces that are upside down. Above
#: this share nobody saw one: such a face needs no proof.
_PROVEN_SHARE = 0.6


@dataclass(frozen=True)
class Posture:
    """How faces stand, by their landmarks.

    Attributes:
        lean_deg: `[N]` float32, 0..180, between the face and the upright at its turn.
        procrustes_error: `[N]` float32, what is left of ArcFace's five points after the best
            similarity transform, over their spread: 0 fits, 1 has nothing in common.
    """

    lean_deg: Tensor
    procrustes_error: Tensor

    def within(self, lean_deg: float, procrustes_error: float) -> Tensor:
        """`[N]` bool; what is not a number is not within."""
        return (self.lean_deg < lean_deg) & (self.procrustes_error < procrustes_error)


def posture(found: Detections) -> Posture:
    """Posture of sightings; without landmarks nothing speaks against any."""
    if found.landmarks is None:
        nothing = torch.zeros(len(found.scores), dtype=torch.float32)
        return Posture(nothing, nothing)
    template = arcface_template(112)
    matrices = similarity_transform(found.landmarks, template)
    left = apply_affine(matrices, found.landmarks.to(matrices)) - template
    spread = (template - template.mean(0)).square().sum()
    procrustes_error = (left.square().sum((1, 2)) / spread).sqrt().float()
    # The matrix turns the face upright, so the face itself is turned the other way.
    roll = torch.rad2deg(torch.atan2(-matrices[:, 1, 0], matrices[:, 0, 0])).float()
    lean = (roll - 90.0 * found.turn.float() + 180) % 360 - 180
    return Posture(lean.abs(), procrustes_error)


def is_sure(found: Detections, threshold: float) -> Tensor:
    """`[N]` bool, which faces leave no doubt."""
    upright = posture(found).within(_SURE_LEAN_DEG, _SURE_MISFIT)
    return upright & (found.scores >= threshold + _SURE_SHARE * (1 - threshold))


def needs_proof(found: Detections, threshold: float) -> Tensor:
    """`[N]` bool, the best sure face of each image that has sure faces, and none beyond doubt."""
    sure = is_sure(found, threshold)
    proven = found.image[sure & (found.scores >= threshold + _PROVEN_SHARE * (1 - threshold))]
    rows = (sure & ~torch.isin(found.image, proven)).nonzero()[:, 0]
    rows = rows[found.scores[rows].argsort(descending=True, stable=True)]
    best: dict[int, int] = {}
    for row, image in zip(rows.tolist(), found.image[rows].tolist(), strict=True):
        best.setdefault(image, row)
    chosen = torch.zeros_like(sure)
    chosen[list(best.values())] = True
    return chosen


def seems_upright(found: Detections) -> Tensor:
    """`[N]` bool, faces that stand upright in an image as it is, by their landmarks."""
    return (found.turn == 0) & posture(found).within(_UPRIGHT_LEAN_DEG, _UPRIGHT_MISFIT)


def merge(
    found: Detections, again: Tensor, better_turned: Tensor, options: DetectionOptions
) -> Tensor:
    """The rows of the faces among all sightings of some images.

    What was seen at first is dropped only for a sighting of the same face that is to be believed
    more; what a further look saw must look like a face.

    Args:
        found: Each look's at each turn suppressed already.
        again: `[N]`, their scores when looked at once more; see `confirm`.
        better_turned: `[N]` bool, whose landmarks were refuted; see `confirm`.
        options: Of the first pass.

    Returns:
        `[K]` int64, grouped by image, best score first.
    """
    # Those of one view, a look at a turn, have been held against each other already.
    view = found.look * 4 + found.turn
    stands = posture(found)
    fused_score = found.scores if found.landmarks is None else (found.scores + again) / 2
    least = options.threshold + _MARGIN_SHARE * (1 - options.threshold)
    plausible = stands.within(_MOST_LEAN_DEG, _MOST_MISFIT) & (fused_score >= least)
    upright = seems_upright(found) & ~better_turned
    fused_score = fused_score + _UPRIGHT_BONUS * upright - 1.0 * ~plausible
    kept = [torch.zeros(0, dtype=torch.int64)]
    for image in found.image.unique().tolist():
        rows = ((found.image == image) & (plausible | (found.look == 0))).nonzero()[:, 0]
        rows = rows[fused_score[rows].argsort(descending=True, stable=True)]
        same = _same_face(found.boxes[rows], view[rows], options.nms_threshold)
        rows = rows[_first_of_each(same)]
        kept.append(rows[found.scores[rows].argsort(descending=True, stable=True)])
    return torch.cat(kept)


def _first_of_each(same: Tensor) -> list[int]:
    """Greedy: the rows of `same [N,N]` that are the same as no kept row before them."""
    kept: list[int] = []
    for row in range(len(same)):
        if not bool(same[row, kept].any()):
            kept.append(row)
    return kept


def _same_face(boxes: Tensor, view: Tensor, nms_threshold: float) -> Tensor:
    """`[N,N]` bool, which sightings of different views are of one face."""
    corner = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    end = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (end - corner).clamp(min=0).prod(-1)
    areas = box_areas(boxes)
    smaller = torch.minimum(areas[:, None], areas[None, :])
    same = (overlaps(boxes, boxes) > nms_threshold) | (shared > _SHARED * smaller)
    return same & (view[:, None] != view[None, :])


def together(parts: Sequence[Detections]) -> Detections:
    """All sightings in one."""
    landmarks = [part.landmarks for part in parts if part.landmarks is not None]
    return Detections(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat(landmarks) if landmarks else None,
        torch.cat([part.image for part in parts]),
        torch.cat([part.turn for part in parts]),
        torch.cat([part.look for part in parts]),
    )

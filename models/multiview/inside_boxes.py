"""Faces inside boxes that somebody else drew: around heads, around whole people, or by hand.

Each box is cut out and shown to the detector at a size at which a face in it is easily seen: first
as if the box were that of a face, and where it is not, as that of a person, whose face is then
looked at from near. All boxes of all images go through each of these together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...backends.interfaces import DetectionOptions
from ...utils.align import apply_affine, centred_square, crop_faces, invert_affine
from ...utils.boxes import overlaps
from ...utils.devices import uploaded, widest_float
from ...utils.faces import Faces
from ...utils.free_memory import images_at_once
from ...utils.images import ImageBatch, Images
from ...utils.progress import part
from .confirm import turned_crops
from .types import DetectBatches
from .views import on_host


class _View(NamedTuple):
    """How a box is shown: side of the picture in pixels, and that of its content in boxes."""

    side: int
    expansion: float


#: A face that fills its box is 128 pixels long, with as much around it as detectors learned with.
_CLOSE = _View(256, 2.0)
#: The face of a person who fills the box is some 70 pixels long.
_WIDE = _View(640, 1.15)
#: A face at least so long, as a share of its box, is what the box was drawn around.
_FILLS = 0.4
#: Boxes that overlap more are of one face.
_SAME_FACE = 0.4


class _Sighting(NamedTuple):
    """A face in pixels of its image; `area_px` is what of it lies in the box."""

    box: Tensor
    score: float
    landmarks: Tensor | None
    area_px: float


@dataclass(frozen=True)
class BoxesOfImages:
    """Boxes of a batch of images, grouped by image.

    Attributes:
        xyxy: `[N,4]` float32 on the CPU, in pixels of the images.
        image: The image of each.
    """

    xyxy: Tensor
    image: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.image)

    def at(self, rows: Sequence[int]) -> BoxesOfImages:
        """Some of them."""
        return BoxesOfImages(self.xyxy[list(rows)], tuple(self.image[row] for row in rows))


def faces_inside(
    images: Images,
    boxes: BoxesOfImages,
    options: DetectionOptions,
    detect_batches: DetectBatches,
    device: torch.device,
) -> tuple[Faces, list[int]]:
    """One face for each box that has one, in the boxes' order, as the detector sees it.

    Of several faces in a box the one that fills it most is taken, and none twice: of two boxes over
    one face the later gets another one, or none. Half the threshold is enough where nothing else is
    in the box, since somebody says that there is a face.

    Args:
        images: That the boxes are of.
        boxes: Any; those without an area, or beside their image, have no face.
        options: Of the detector; its sizes don't matter. With `robust` each box is shown at all
            four quarter turns.
        detect_batches: See `DetectBatches`.
        device: The detector's.

    Returns:
        The faces on that device, and the number of the box of each.
    """
    look = partial(_look, images, options=options, detect_batches=detect_batches, device=device)
    rows = [row for row in range(len(boxes)) if _is_seen(boxes, row, images)]
    sightings: dict[int, list[_Sighting]] = {row: [] for row in rows}
    with part(0.0, 0.4):
        _add(sightings, rows, look(boxes.at(rows), _CLOSE))
    small = [row for row in rows if not _is_filled(boxes.xyxy[row], sightings[row], options)]
    with part(0.4, 0.8):
        _add(sightings, small, look(boxes.at(small), _WIDE))
    for turn in (1, 2, 3) if options.robust else ():
        _add(sightings, rows, look(boxes.at(rows), _CLOSE, turn=turn))
    chosen = _chosen(boxes, sightings, options)
    far = [row for row in chosen if row in set(small)]
    around = BoxesOfImages(
        torch.stack([chosen[row].box for row in far]) if far else boxes.xyxy[:0],
        tuple(boxes.image[row] for row in far),
    )
    with part(0.8, 1.0):
        for row, again in zip(far, look(around, _CLOSE), strict=True):
            chosen[row] = _nearest(chosen[row], again)
    return _as_faces(images, boxes, chosen, device), list(chosen)


def _is_seen(boxes: BoxesOfImages, row: int, images: Images) -> bool:
    left, top, right, bottom = boxes.xyxy[row].tolist()
    height, width = images.sizes_hw[boxes.image[row]]
    return left < min(right, width) and top < min(bottom, height) and right > 0 and bottom > 0


def _add(
    sightings: dict[int, list[_Sighting]], rows: Sequence[int], seen: list[list[_Sighting]]
) -> None:
    for row, some in zip(rows, seen, strict=True):
        sightings[row] += some


def _look(
    images: Images,
    boxes: BoxesOfImages,
    view: _View,
    options: DetectionOptions,
    detect_batches: DetectBatches,
    device: torch.device,
    turn: int = 0,
) -> list[list[_Sighting]]:
    """What is seen in each box, with its centre in it, best score first."""
    seen: list[list[_Sighting]] = [[] for _ in range(len(boxes))]
    if not len(boxes):
        return seen
    matrices = turned_crops(centred_square(boxes.xyxy, view.side, view.expansion), turn, view.side)
    back = invert_affine(matrices)
    at_once = images_at_once(device, (view.side, view.side), view.side**2)
    groups = torch.arange(len(boxes)).split(at_once)
    places = torch.tensor(boxes.image)
    makers = [
        partial(_crops, images, places[crops], matrices[crops], view.side, device)
        for crops in groups
    ]
    low = replace(
        options,
        sizes_wh=((view.side, view.side),),
        threshold=options.threshold / 2,
        robust=False,
    )
    for crops, faces in zip(groups, detect_batches(makers, low), strict=True):
        corners, scores, landmarks = on_host(faces)
        which = crops[list(faces.images_of_faces())]
        points = corners.unflatten(1, (2, 2))
        if landmarks is not None:
            points = torch.cat((points, landmarks), 1)
        points = apply_affine(back[which], points.to(back)).float()
        found = torch.cat((points[:, :2].amin(1), points[:, :2].amax(1)), 1)
        drawn = boxes.xyxy[which]
        centre = (found[:, :2] + found[:, 2:]) / 2
        inside = ((centre >= drawn[:, :2]) & (centre <= drawn[:, 2:])).all(1).tolist()
        shared = torch.minimum(found[:, 2:], drawn[:, 2:]) - torch.maximum(
            found[:, :2], drawn[:, :2]
        )
        areas = shared.clamp(min=0).prod(1).tolist()
        for row, box in enumerate(which.tolist()):
            if inside[row]:
                spots = None if landmarks is None else points[row, 2:]
                seen[box].append(_Sighting(found[row], float(scores[row]), spots, areas[row]))
    return seen


def _crops(
    images: Images, image: Tensor, matrices: Tensor, side: int, device: torch.device
) -> ImageBatch:
    where = uploaded(matrices.to(widest_float(device)), device)
    return crop_faces(images, image.tolist(), where, side)


def _is_filled(drawn: Tensor, seen: Sequence[_Sighting], options: DetectionOptions) -> bool:
    """Whether a sure face is what the box was drawn around."""
    needed = _FILLS * float((drawn[2:] - drawn[:2]).max())
    return any(
        each.score >= options.threshold and float((each.box[2:] - each.box[:2]).max()) >= needed
        for each in seen
    )


def _chosen(
    boxes: BoxesOfImages, sightings: dict[int, list[_Sighting]], options: DetectionOptions
) -> dict[int, _Sighting]:
    """The face of each box that has one, by the box's number."""
    chosen: dict[int, _Sighting] = {}
    taken: dict[int, list[Tensor]] = {}
    for row, seen in sightings.items():
        others = taken.setdefault(boxes.image[row], [])
        free = [each for each in _best_of_each(seen) if not _is_one_of(each.box, others)]
        sure = [each for each in free if each.score >= options.threshold]
        if free:
            chosen[row] = max(sure or free, key=lambda each: each.area_px)
            others.append(chosen[row].box)
    return chosen


def _best_of_each(seen: Sequence[_Sighting]) -> list[_Sighting]:
    """Of the sightings of one face that of best score: shown at all turns it is the right one."""
    best: list[_Sighting] = []
    for each in sorted(seen, key=lambda sighting: -sighting.score):
        if not _is_one_of(each.box, [other.box for other in best]):
            best.append(each)
    return best


def _is_one_of(box: Tensor, others: Sequence[Tensor]) -> bool:
    if not others:
        return False
    return bool((overlaps(box[None], torch.stack(tuple(others))) > _SAME_FACE).any())


def _nearest(far: _Sighting, again: Sequence[_Sighting]) -> _Sighting:
    """The same face seen from near; as it was seen from afar where it is not seen again."""
    same = [each for each in again if _is_one_of(each.box, [far.box])]
    return max(same, key=lambda each: each.score, default=far)


def _as_faces(
    images: Images, boxes: BoxesOfImages, chosen: dict[int, _Sighting], device: torch.device
) -> Faces:
    if not chosen:
        return Faces.empty(images.sizes_hw, device)
    rows = list(chosen.values())
    image_list = tuple(boxes.image[row] for row in chosen)
    spots = [each.landmarks for each in rows if each.landmarks is not None]
    return Faces(
        boxes=uploaded(torch.stack([each.box for each in rows]), device),
        scores=uploaded(torch.tensor([each.score for each in rows]), device),
        image_index=uploaded(torch.tensor(image_list, dtype=torch.int64), device),
        image_sizes=images.sizes_hw,
        landmarks=uploaded(torch.stack(spots), device) if spots else None,
        image_list=image_list,
    )

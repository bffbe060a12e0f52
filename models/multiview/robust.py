"""Detection mode `robust`: images without a sure face are searched again, all of them together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from ...backends.interfaces import DetectionOptions
from ...utils.devices import uploaded
from ...utils.faces import Faces
from ...utils.free_memory import images_at_once
from ...utils.images import ImageBatch, Images
from ...utils.progress import part
from .confirm import FACE_PX, look_again, steady_landmarks
from .merge import is_sure, merge, needs_proof, posture, seems_upright, together
from .types import DetectBatches
from .views import Detections, View, on_host

#: The scale of the first pass, turned; one finer, for tiny faces; one coarser with room around, for
#: faces that fill the image or reach beyond it.
LOOKS = (
    View(640, 640, (1, 2, 3)),
    View(1280, 1280, (0, 1, 2, 3)),
    View(128, 256, (0, 1, 2, 3)),
)

#: Of the whole search, what is done after the proofs, the looks, and the second opinions.
_PROOF_SHARE, _LOOKS_SHARE, _CONFIRM_SHARE = 0.1, 0.8, 0.95

#: Landmarks of a face that leans more than this are a tenth of the distance between the eyes off.
_LEANING_DEG = 20.0


def search_wider(
    images: Images,
    faces: Faces,
    options: DetectionOptions,
    detect_batches: DetectBatches,
    looks: Sequence[View] = LOOKS,
) -> Faces:
    """Looks again, turned, finer and coarser, at the images in which no face is sure.

    Images with a sure face keep what was found: there a turned sighting can displace nothing. The
    host waits for the device a fixed number of times, however many images there are.

    Args:
        images: In which `faces` were found.
        faces: Of the first pass, on the detector's device.
        options: Of the first pass.
        detect_batches: See `DetectBatches`.
        looks: At what scales and turns to look.

    Returns:
        Faces on the same device, in the images' order, best score first within each.
    """
    image = torch.tensor(faces.images_of_faces(), dtype=torch.int64)
    upright = torch.zeros_like(image)
    first = Detections(*on_host(faces), image, turn=upright, look=upright)
    sure = set(first.image[is_sure(first, options.threshold)].tolist())
    doubted = first.at(needs_proof(first, options.threshold))
    if len(doubted.scores):
        all_turns = torch.ones_like(doubted.image, dtype=torch.bool)
        with part(0.0, _PROOF_SHARE):
            proof = look_again(
                images, doubted, options, detect_batches, faces.device, turned=all_turns
            )
        sure -= set(doubted.image[proof.better_turned].tolist())
    unsure = set(range(len(images))) - sure
    if not unsure:
        return faces
    places = sorted(unsure)
    pixels = max(height * width for height, width in images.sizes_hw)
    seen = []
    shares = _shares_done(looks)
    for number, look in enumerate(looks, start=1):
        at_once = images_at_once(faces.device, look.size_wh, pixels)
        groups = _groups(images, places, at_once, look)
        makers = [partial(_canvases, images, group, look, faces.device) for group in groups]
        with part(shares[number - 1], shares[number]):
            found = detect_batches(makers, replace(options, sizes_wh=(look.size_wh,), robust=False))
        for group, some in zip(groups, found, strict=True):
            sizes = [images.sizes_hw[place] for place in group]
            sightings = look.back_in(some, sizes, number)
            seen.append(replace(sightings, image=torch.tensor(group)[sightings.image]))
    known = first.at(
        torch.tensor([image in unsure for image in first.image.tolist()], dtype=torch.bool)
    )
    found = together([known, *seen])
    with part(_LOOKS_SHARE, _CONFIRM_SHARE):
        again = look_again(
            images, found, options, detect_batches, faces.device, turned=seems_upright(found)
        )
    rows = merge(found, again.scores, again.better_turned, options)
    first_side = max(max(size_wh) for size_wh in options.sizes_wh)
    sides = torch.tensor([first_side, *(look.image_side for look in looks)])[found.look]
    longest = torch.tensor([max(size_hw) for size_hw in images.sizes_hw])[found.image]
    face_px = (found.boxes[:, 2:] - found.boxes[:, :2]).amax(1)
    # Landmarks of a face that was seen upright and large, in whatever turn, are those that the
    # upright photo gives: they stay.
    coarse = (posture(found).lean_deg > _LEANING_DEG) | (face_px * sides / longest < FACE_PX)
    better = _where(coarse, again.landmarks, found.landmarks)
    found = replace(found, landmarks=better).at(rows)
    small = face_px[rows] < FACE_PX
    with part(_CONFIRM_SHARE, 1.0):
        steady = steady_landmarks(images, found, small, options, detect_batches, faces.device)
    return _replaced(faces, replace(found, landmarks=steady), unsure)


def _shares_done(looks: Sequence[View]) -> list[float]:
    """What of the whole search is done before each look, and after the last."""
    pixels = [look.canvas_side**2 * len(look.turns) for look in looks]
    scale = (_LOOKS_SHARE - _PROOF_SHARE) / sum(pixels)
    return [_PROOF_SHARE + done * scale for done in accumulate(pixels, initial=0)]


def _where(rows: Tensor, new: Tensor | None, old: Tensor | None) -> Tensor | None:
    """Landmarks `[N,5,2]`: the new ones in some rows; None where there are none."""
    return None if new is None or old is None else torch.where(rows[:, None, None], new, old)


def _groups(
    images: Images, places: Sequence[int], at_once: int, look: View
) -> list[tuple[int, ...]]:
    """Images that are looked at together: of one size, and as many as fit at all turns."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for place in places:
        by_size.setdefault(images.sizes_hw[place], []).append(place)
    count = max(1, at_once // len(look.turns))
    return [
        tuple(group[start : start + count])
        for group in by_size.values()
        for start in range(0, len(group), count)
    ]


def _canvases(images: Images, group: Sequence[int], look: View, device: torch.device) -> ImageBatch:
    return look.canvases(images.batch(group, device))


def _replaced(faces: Faces, found: Detections, images: Collection[int]) -> Faces:
    """The faces, with those of some images replaced by what was found there."""
    before = faces.images_of_faces()
    kept = [row for row, image in enumerate(before) if image not in images]
    image_list = [before[row] for row in kept] + found.image.tolist()
    by_image = sorted(range(len(image_list)), key=image_list.__getitem__)
    still = uploaded(torch.tensor(kept, dtype=torch.int64), faces.device)
    order = uploaded(torch.tensor(by_image, dtype=torch.int64), faces.device)

    def column(old: Tensor, new: Tensor) -> Tensor:
        return torch.cat((old[still], uploaded(new, faces.device)))[order]

    landmarks = None
    if faces.landmarks is not None and found.landmarks is not None:
        landmarks = column(faces.landmarks, found.landmarks)
    return Faces(
        boxes=column(faces.boxes, found.boxes),
        scores=column(faces.scores, found.scores),
        image_index=column(faces.image_index, found.image),
        image_sizes=faces.image_sizes,
        landmarks=landmarks,
        image_list=tuple(sorted(image_list)),
    )

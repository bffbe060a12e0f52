"""Which faces of a batch to go on with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .boxes import largest_or_central
from .errors import InvalidInput
from .faces import Faces


def largest_of_each_image(faces: Faces) -> Tensor:
    """Rows of the face with the largest box of every image that has one.

    Returns:
        `[K]` int64 on the faces' device, in the order of the images. Of equal areas the later row
        wins, as with InstantID's `sorted(...)[-1]`.
    """
    width, height = (faces.boxes[:, 2:] - faces.boxes[:, :2]).unbind(1)
    return _best_of_each_image(width * height, faces.image_index)


#: How facenet-pytorch chooses one face of an image.
SELECTION_METHODS = ("probability", "largest", "largest_over_threshold", "center_weighted_size")
_LARGEST_OVER = 0.9
_CENTER_WEIGHT = 2.0


def select_boxes(faces: Faces, method: str) -> Tensor:
    """Rows of one face of every image that has one.

    Args:
        faces: By image.
        method: `probability` takes the best score; `largest` the largest box;
            `largest_over_threshold` the largest of those that score more than 0.9, so that an image
            may have none; `center_weighted_size` the largest box after twice the squared distance
            from the image's centre is taken off, areas and distances in square pixels.

    Returns:
        `[K]` int64 on the faces' device, in the order of the images; of equals the later row.

    Raises:
        InvalidInput: There is no such method.

    Source:
        facenet-pytorch 2.6, `MTCNN.select_boxes`.
    """
    width, height = (faces.boxes[:, 2:] - faces.boxes[:, :2]).unbind(1)
    value = width * height
    rows = torch.arange(len(faces), device=faces.device)
    if method == "probability":
        value = faces.scores
    elif method == "largest_over_threshold":
        rows = (faces.scores > _LARGEST_OVER).nonzero()[:, 0]
    elif method == "center_weighted_size":
        sizes = value.new_tensor(faces.image_sizes).view(-1, 2)[faces.image_index]
        centre = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        offset = centre - sizes.flip(1) / 2
        value = value - offset.square().sum(1) * _CENTER_WEIGHT
    elif method != "largest":
        raise InvalidInput(
            f"got selection method {method!r}, expected one of {', '.join(SELECTION_METHODS)}"
        )
    return rows[_best_of_each_image(value[rows], faces.image_index[rows])]


def _best_of_each_image(value: Tensor, image_index: Tensor) -> Tensor:
    """The row of the highest value of every image, the later row of equals: `[K]` int64."""
    by_value = torch.argsort(value, stable=True)
    order = by_value[torch.argsort(image_index[by_value], stable=True)]
    image = image_index[order]
    last_of_image = torch.ones_like(image, dtype=torch.bool)
    last_of_image[:-1] = image[1:] != image[:-1]
    return order[last_of_image]


#: What `rank` can put first.
ORDERS = (
    "largest",
    "best score",
    "left to right",
    "top to bottom",
    "nearest to the centre",
    "most similar",
    "right to left",
    "smallest",
)
SEXES = ("any", "female", "male")


def rank(faces: Faces, order: str, similarity: Tensor | None = None) -> Tensor:
    """Rows of all faces, grouped by image, within each in an order.

    Args:
        faces: Of any images.
        order: One of `ORDERS`.
        similarity: `[N]`, needed for `most similar`.

    Returns:
        `[N]` int64 on the faces' device. Faces of equal value keep their order.

    Raises:
        InvalidInput: Unknown order.
    """
    left, top, right, bottom = faces.boxes.unbind(1)
    if order == "largest":
        key = (left - right) * (bottom - top)
    elif order == "smallest":
        key = (right - left) * (bottom - top)
    elif order == "best score":
        key = -faces.scores
    elif order == "left to right":
        key = left + right
    elif order == "right to left":
        key = -left - right
    elif order == "top to bottom":
        key = top + bottom
    elif order == "nearest to the centre":
        sizes_wh = torch.tensor(faces.image_sizes, device=faces.device).reshape(-1, 2).flip(1)
        centre = torch.stack((left + right, top + bottom), 1)
        key = (centre - sizes_wh[faces.image_index]).square().sum(1)
    elif order == "most similar" and similarity is not None:
        key = -similarity
    else:
        raise InvalidInput(f"got order {order!r}, expected one of {', '.join(ORDERS)}")
    by_key = torch.argsort(key, stable=True)
    return by_key[torch.argsort(faces.image_index[by_key], stable=True)]


def of_sex_and_age(faces: Faces, sex: str, min_age: int, max_age: int) -> Faces:
    """The faces of a sex and of an age in years within limits, both included.

    Args:
        faces: With `gender` and `age`, as far as they are asked for.
        sex: One of `SEXES`.
        min_age, max_age: 0 as `max_age` is no limit.

    Raises:
        InvalidInput: Sex or age is asked for, and not known.
    """
    wanted = torch.ones(len(faces), dtype=torch.bool, device=faces.device)
    by_age = min_age > 0 or max_age > 0
    if len(faces) and ((sex != "any" and faces.gender is None) or (by_age and faces.age is None)):
        raise InvalidInput(
            "got faces without age and sex; connect images and faceanalysis, with a model pack "
            "that has genderage, such as buffalo_l"
        )
    if sex != "any" and faces.gender is not None:
        wanted &= faces.gender == SEXES.index(sex) - 1
    if by_age and faces.age is not None:
        wanted &= faces.age >= min_age
        if max_age:
            wanted &= faces.age <= max_age
    return faces[wanted]


def at_places(faces: Faces, rows: Tensor, chosen: Sequence[int]) -> Tensor:
    """Of ranked rows, those at some places within their image, in the order of the places.

    Args:
        faces: That were ranked.
        rows: `[N]`, grouped by image.
        chosen: Places, counted from 0; those that an image does not have are passed over.
    """
    images = faces.image_index[rows].tolist()
    of_image: dict[int, list[int]] = {}
    for row, image in zip(rows.tolist(), images, strict=True):
        of_image.setdefault(image, []).append(row)
    picked = [
        ranked[place] for ranked in of_image.values() for place in chosen if place < len(ranked)
    ]
    return torch.tensor(picked, dtype=torch.int64, device=rows.device)


def numbered(faces: Faces, rows: Tensor, first: int, count: int) -> Tensor:
    """Of ranked rows, those at places `first` to `first + count` within their image.

    Args:
        faces: That were ranked.
        rows: `[N]`, grouped by image.
        first: Place of the first one taken, counted from 0.
        count: How many of each image; 0 takes all that follow.
    """
    image = faces.image_index[rows]
    start = torch.searchsorted(image.contiguous(), image.contiguous())
    place = torch.arange(len(rows), device=rows.device) - start
    wanted = place >= first
    return rows[wanted & (place < first + count)] if count else rows[wanted]


def limit_faces(faces: Faces, limit: int, metric: str = "default") -> Faces:
    """At most `limit` faces an image, chosen and ordered as InsightFace does; 0 keeps all."""
    rows = rows_within_limit(faces, limit, metric)
    return faces if rows is None else faces[rows]


def rows_within_limit(
    faces: Faces, limit: int, metric: str = "default", wanted: Tensor | None = None
) -> Tensor | None:
    """Rows of at most `limit` faces an image, chosen and ordered as InsightFace does.

    Args:
        faces: On any device.
        limit: 0 is no limit.
        metric: See `largest_or_central`.
        wanted: `[N]` bool, faces that are kept before the others, fewer than the limit; or None.

    Returns:
        `[K]` int64 on the faces' device, grouped by image; None where all stay as they are.
    """
    if limit <= 0 or not len(faces) or max(faces.per_image()) <= limit:
        return None
    kept, first = [], 0
    for count, size_hw in zip(faces.per_image(), faces.image_sizes, strict=True):
        rows = torch.arange(first, first + count, device=faces.device)
        if count > limit:
            others = rows if wanted is None else rows[~wanted[rows]]
            most = limit - (count - len(others))
            others = others[largest_or_central(faces.boxes[others], size_hw, most, metric)]
            rows = others if wanted is None else torch.cat((rows[wanted[rows]], others))
        kept.append(rows)
        first += count
    return torch.cat(kept)

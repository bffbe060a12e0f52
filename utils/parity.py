"""Whether two implementations found the same faces, and how far apart their numbers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .accuracy_report import FIT, UNFIT

#: What was found in one image: `boxes` `[N,4]` and `scores` `[N]`, float32, best score first,
#: `landmarks` `[N,5,2]` or None, `embeddings` `[N,D]` or None; pixels of the image, on the CPU.
Found = dict[str, Any]

#: What an answer may differ by to take the reference's place.
MOST_BOX_PX, MOST_LANDMARK_PX, LEAST_COSINE = 2.0, 1.0, 0.999
#: Consumers read embeddings that are not normalised: their length matters too, which a cosine does
#: not see.
MOST_NORM_ERROR = 0.02
#: Faces whose scores in the reference differ by less may change places.
SCORE_TIE = 0.01
#: Boxes that overlap less are different faces.
_SAME_FACE_IOU = 0.5


def found(boxes: Any, scores: Any, landmarks: Any = None, embeddings: Any = None) -> Found:
    """`Found` of one image from arrays in any order of faces."""
    order = np.argsort(-np.asarray(scores, dtype=np.float32), kind="stable")

    def column(values: Any, *shape: int) -> np.ndarray:
        return np.asarray(values, dtype=np.float32).reshape(len(order), *shape)[order]

    return {
        "boxes": column(boxes, 4),
        "scores": column(scores),
        "landmarks": None if landmarks is None else column(landmarks, 5, 2),
        "embeddings": (None if embeddings is None or not len(order) else column(embeddings, -1)),
    }


def compare(reference: Sequence[Found], other: Sequence[Found]) -> dict[str, Any]:
    """Compares what two implementations found in the same images.

    Args:
        reference: One a image.
        other: One a image.

    Returns:
        `faces`, `found`, `matched`: numbers of faces of the reference, of the other, and of those
        both have; `same_order`; `box_px`, `landmark_px`: the largest distance of a coordinate;
        `cosine`: the lowest of two embeddings; `norm_error`: the largest relative difference of
        their lengths; None where one of them has no such thing. `worst_image`: where the largest
        difference is. `verdict`: `fit` or `unfit`, and `reasons` for the latter.
    """
    images = [_compare_image(*pair) for pair in zip(reference, other, strict=True)]
    figures: dict[str, Any] = {
        name: sum(image[name] for image in images) for name in ("faces", "found", "matched")
    }
    figures["same_order"] = all(image["same_order"] for image in images)
    for name, worst in (
        ("box_px", max),
        ("landmark_px", max),
        ("cosine", min),
        ("norm_error", max),
    ):
        values = [image[name] for image in images if image[name] is not None]
        figures[name] = worst(values) if values else None
    figures["worst_image"] = max(
        range(len(images)), key=lambda index: badness(images[index]), default=0
    )
    reasons = _reasons(figures)
    return {**figures, "verdict": UNFIT if reasons else FIT, "reasons": reasons}


def _reasons(figures: dict[str, Any]) -> list[str]:
    reasons = []
    missed, added = (figures[name] - figures["matched"] for name in ("faces", "found"))
    if missed or added:
        reasons.append(f"{missed} faces missed, {added} added")
    if not figures["same_order"]:
        reasons.append("faces in another order")
    limits = (
        ("box_px", MOST_BOX_PX, "boxes off by {:.2f} px"),
        ("landmark_px", MOST_LANDMARK_PX, "landmarks off by {:.2f} px"),
        ("norm_error", MOST_NORM_ERROR, "embeddings {:.1%} longer or shorter"),
    )
    for name, most, text in limits:
        # Written so that NaN fails too.
        if figures[name] is not None and not figures[name] <= most:
            reasons.append(text.format(figures[name]))
    if figures["cosine"] is not None and not figures["cosine"] >= LEAST_COSINE:
        reasons.append(f"cosine of embeddings down to {figures['cosine']:.5f}")
    return reasons


def badness(figures: Mapping[str, Any]) -> float:
    """How far the figures of an image, or of several, are beyond, or on their way to, the limits.

    Args:
        figures: As `compare` gives them.
    """
    shares = [float(figures["faces"] + figures["found"] - 2 * figures["matched"]) * 100]
    for name, most in (
        ("box_px", MOST_BOX_PX),
        ("landmark_px", MOST_LANDMARK_PX),
        ("norm_error", MOST_NORM_ERROR),
    ):
        if figures[name] is not None:
            shares.append(figures[name] / most)
    if figures["cosine"] is not None:
        shares.append((1 - figures["cosine"]) / (1 - LEAST_COSINE))
    return float("inf") if any(np.isnan(shares)) else max(shares)


def _compare_image(reference: Found, other: Found) -> dict[str, Any]:
    ours, theirs = match(reference["boxes"], other["boxes"])
    figures: dict[str, Any] = {
        "faces": len(reference["boxes"]),
        "found": len(other["boxes"]),
        "matched": len(ours),
        "same_order": _same_order(reference["scores"][ours], theirs),
        "box_px": _largest(reference["boxes"], other["boxes"], ours, theirs),
        "landmark_px": _largest(reference["landmarks"], other["landmarks"], ours, theirs),
        "cosine": None,
        "norm_error": None,
    }
    first, second = reference["embeddings"], other["embeddings"]
    if first is not None and second is not None and len(ours):
        first, second = first[ours].astype(np.float64), second[theirs].astype(np.float64)
        lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
        figures["cosine"] = float(((first * second).sum(1) / (lengths[0] * lengths[1])).min())
        figures["norm_error"] = float(np.abs(lengths[1] / lengths[0] - 1).max())
    return figures


def match(reference: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs boxes `[N,4]` and `[M,4]` that are the same face, those that overlap most first.

    Returns:
        `[K]` int64 rows of the first, ascending, and the row of the second that belongs to each.
    """
    overlap = _iou(reference, other)
    pairs = []
    while overlap.size and overlap.max() >= _SAME_FACE_IOU:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((int(row), int(column)))
        overlap[row], overlap[:, column] = -1, -1
    array = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = first[:, None].astype(np.float64), second[None].astype(np.float64)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2]
    )
    both = sides.clip(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1) for boxes in (first, second)]
    return both / np.maximum(areas[0] + areas[1] - both, 1e-9)


def _same_order(scores: np.ndarray, places: np.ndarray) -> bool:
    """Whether places rise with the reference's rows, but for faces with next to equal scores."""
    return all(
        places[later] > places[earlier] or scores[earlier] - scores[later] <= SCORE_TIE
        for earlier in range(len(places))
        for later in range(earlier + 1, len(places))
    )


def _largest(first: Any, second: Any, ours: np.ndarray, theirs: np.ndarray) -> float | None:
    if first is None or second is None or not len(ours):
        return None
    return float(np.abs(first[ours].astype(np.float64) - second[theirs]).max())

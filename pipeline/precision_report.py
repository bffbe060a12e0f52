"""Whether cheaper arithmetic gives answers that may take the place of those in fp32.

Limits are on shares of faces and on medians, with the worst shown beside them: a face of twenty
pixels, whose landmarks move by a tenth of a pixel, has another embedding than before, in fp32 too
when the picture is shifted by one pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..utils.accuracy_report import FIT, UNFIT, UNTESTED, AccuracyReport, Verdict
from ..utils.faces import Faces
from ..utils.parity import match

#: Share of the faces in fp32 that must be found, and of those found that must be faces in fp32.
LEAST_RECALL = 0.99
#: Landmarks, in pixels of the detector's canvas of 640, of this share of the faces.
MOST_LANDMARK_PX, LANDMARK_SHARE = 1.0, 0.95
#: Median cosine of embeddings in fp32 from the cheaper detector's landmarks. Other pictures are to
#: keep 0.999, and are as much as twice as far from 1: what int8 detectors of SCRFD-2.5G had here
#: and on 18 other pictures with 106 faces was 0.9994 and 0.9989, 0.9990 and 0.9981.
LEAST_LANDMARK_COSINE = 0.9995
#: Median cosine of embeddings by the cheaper recognition.
LEAST_RECOGNITION_COSINE = 0.99
#: Faces whose scores differ by less may change places, and pairs of faces whose similarities do.
SCORE_TIE, SIMILARITY_TIE = 0.05, 0.05
#: Fewer faces prove nothing.
LEAST_FACES = 4

CANVAS_SIDE = 640


def detection_report(
    want: Faces, got: Faces, want_embeddings: np.ndarray | None, got_embeddings: np.ndarray | None
) -> AccuracyReport:
    """Compares the faces of a cheaper detector with those in fp32.

    Args:
        want, got: Of the same images, on the CPU.
        want_embeddings, got_embeddings: `[N,D]` by recognition in fp32, one a face; None where the
            pack has none.
    """
    matched = 0
    swaps = 0
    landmarks: list[float] = []
    cosines: list[float] = []
    boxes, other_boxes = want.boxes.numpy(), got.boxes.numpy()
    scores = want.scores.numpy()
    points = None if want.landmarks is None else want.landmarks.numpy()
    other_points = None if got.landmarks is None else got.landmarks.numpy()
    for image, size_hw in enumerate(want.image_sizes):
        mine, theirs = _rows(want, image), _rows(got, image)
        ours, others = match(boxes[mine], other_boxes[theirs])
        matched += len(ours)
        first, second = mine[ours], theirs[others]
        swaps += _swaps(scores[first], others)
        if not len(first):
            continue
        if points is not None and other_points is not None:
            far = np.abs(points[first] - other_points[second]).max((1, 2))
            landmarks += (far * (CANVAS_SIDE / max(size_hw))).tolist()
        if want_embeddings is not None and got_embeddings is not None:
            cosines += _cosines(want_embeddings[first], got_embeddings[second]).tolist()
    figures = {
        "recall": matched / max(1, len(want)),
        "precision": matched / max(1, len(got)),
        "swaps": float(swaps),
    }
    limits = [("recall", LEAST_RECALL, 1), ("precision", LEAST_RECALL, 1), ("swaps", 0.0, -1)]
    if landmarks:
        figures["landmark_px_p95"] = float(np.quantile(landmarks, LANDMARK_SHARE))
        figures["landmark_px_worst"] = max(landmarks)
        limits.append(("landmark_px_p95", MOST_LANDMARK_PX, -1))
    if cosines:
        figures["cosine_median"] = float(np.median(cosines))
        figures["cosine_worst"] = min(cosines)
        limits.append(("cosine_median", LEAST_LANDMARK_COSINE, 1))
    return _judged(figures, limits, len(want.image_sizes), len(want))


def recognition_report(want: np.ndarray, got: np.ndarray, images: int) -> AccuracyReport:
    """Compares embeddings `[N,D]` of the same crops, in fp32 and by a cheaper network."""
    figures: dict[str, float] = {}
    limits = [
        ("cosine_median", LEAST_RECOGNITION_COSINE, 1),
        ("order_of_pairs_changed", 0.0, -1),
    ]
    if len(want):
        cosines = _cosines(want, got)
        figures["cosine_median"] = float(np.median(cosines))
        figures["cosine_worst"] = float(cosines.min())
        figures["order_of_pairs_changed"] = float(_pairs_out_of_order(want, got))
    return _judged(figures, limits, images, len(want))


def with_speed(report: AccuracyReport, exact_ms: float, cheap_ms: float) -> AccuracyReport:
    """A report with what was measured: milliseconds in fp32 and in the cheaper precision."""
    figures = {**report.figures, "fp32_ms": exact_ms, "ms": cheap_ms}
    return AccuracyReport(
        report.verdict, report.reasons, figures, report.reference, report.images, report.faces
    )


def _judged(
    figures: Mapping[str, float],
    limits: Sequence[tuple[str, float, int]],
    images: int,
    faces: int,
) -> AccuracyReport:
    """`limits`: name, limit, and 1 where more is better, -1 where less is."""
    if faces < LEAST_FACES:
        reason = (
            f"in fp32 there are {faces} faces in {images} pictures, and fewer than {LEAST_FACES} "
            "prove nothing; name a folder of pictures with faces by FASTFACE_CALIBRATION"
        )
        return AccuracyReport(UNTESTED, (reason,), dict(figures), images=images, faces=faces)
    reasons = tuple(
        f"{name} {figures[name]:.4g}, limit {limit:g}"
        for name, limit, better in limits
        # Written so that NaN fails too.
        if not better * figures[name] >= better * limit
    )
    verdict: Verdict = UNFIT if reasons else FIT
    return AccuracyReport(verdict, reasons, dict(figures), "fp32", images, faces)


def _rows(faces: Faces, image: int) -> np.ndarray:
    """`[n]` int64, the rows of an image's faces."""
    return np.flatnonzero(np.asarray(faces.images_of_faces(), dtype=np.int64) == image)


def _swaps(scores: np.ndarray, places: np.ndarray) -> int:
    """Pairs of faces that changed places though their scores in fp32 differ clearly."""
    earlier, later = np.triu_indices(len(scores), 1)
    clear = np.abs(scores[earlier] - scores[later]) > SCORE_TIE
    in_order = np.sign(scores[earlier] - scores[later]) == np.sign(places[later] - places[earlier])
    return int((clear & ~in_order).sum())


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(1) / np.maximum(lengths, 1e-12)


def _pairs_out_of_order(want: np.ndarray, got: np.ndarray) -> int:
    """How many pairs of faces are as similar as others, or more, that were clearly less similar."""
    both = []
    for embeddings in (want, got):
        units = embeddings.astype(np.float64)
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
        both.append((units @ units.T)[np.triu_indices(len(units), 1)])
    order = np.argsort(both[0], kind="stable")
    exact, cheap = both[0][order], both[1][order]
    # The most similar, in cheap arithmetic, of all pairs that are clearly less so in fp32.
    highest = np.concatenate(([-np.inf], np.maximum.accumulate(cheap)))
    below = np.searchsorted(exact, exact - SIMILARITY_TIE, side="left")
    return int((cheap <= highest[below]).sum())

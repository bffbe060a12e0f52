"""Whether cheaper answers are told from those in fp32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastface.pipeline.precision_report import detection_report, recognition_report
from fastface.utils.accuracy_report import FIT, UNFIT, UNTESTED
from fastface.utils.faces import Faces

COUNT = 40


def faces() -> Faces:
    """Twenty faces in each of two pictures of 1280 x 960, none overlapping, best score first."""
    left = torch.arange(COUNT // 2).repeat(2) * 60.0
    boxes = torch.stack([left, left, left + 50, left + 50], 1)
    points = boxes[:, None, :2] + torch.tensor([[10, 15], [40, 15], [25, 25], [15, 40], [35, 40]])
    scores = torch.linspace(0.95, 0.55, COUNT // 2).repeat(2)
    index = torch.arange(2).repeat_interleave(COUNT // 2)
    return Faces(boxes, scores, index, ((960, 1280), (960, 1280)), points)


def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(COUNT, 64))


def noisy(cosine: float) -> np.ndarray:
    """Those embeddings, each turned away by an angle of that cosine."""
    own = embeddings()
    other = np.random.default_rng(1).normal(size=own.shape)
    units = own / np.linalg.norm(own, axis=1, keepdims=True)
    other -= (other * units).sum(1, keepdims=True) * units
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return cosine * units + np.sqrt(1 - cosine**2) * other


def moved(px: float, count: int) -> Faces:
    """The first so many faces' landmarks moved, in pixels of the picture."""
    points = faces().landmarks
    assert points is not None
    points = points.clone()
    points[:count] += px
    return replace(faces(), landmarks=points)


def test_the_same_answers_are_fit():
    report = detection_report(faces(), faces(), embeddings(), embeddings())
    assert report.verdict == FIT and report.faces == COUNT and report.images == 2
    assert report.figures["recall"] == report.figures["precision"] == 1
    assert report.figures["landmark_px_worst"] == 0
    assert report.figures["cosine_worst"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("got", "verdict", "said"),
    [
        (faces()[torch.arange(1, COUNT)], UNFIT, "recall 0.975"),
        # 1280 pixels are shown as 640: two of the picture are one of the canvas.
        (moved(1.9, COUNT), FIT, ""),
        (moved(2.1, COUNT), UNFIT, "landmark_px_p95 1.05"),
        (moved(9.0, 1), FIT, ""),
        (moved(9.0, 5), UNFIT, "landmark_px_p95 4.5"),
        (moved(float("nan"), COUNT), UNFIT, "landmark_px_p95 nan"),
    ],
)
def test_faces_and_landmarks_have_limits(got, verdict, said):
    report = detection_report(faces(), got, None, None)
    assert report.verdict == verdict
    assert said in "; ".join(report.reasons)


def test_faces_that_are_none_in_fp32_have_a_limit():
    fewer = faces()[torch.arange(1, COUNT)]
    report = detection_report(fewer, faces(), None, None)
    assert report.verdict == UNFIT and "precision 0.975" in report.reasons[0]


def test_only_faces_of_nearly_equal_score_may_change_places():
    order = torch.arange(COUNT)
    near, far = order.clone(), order.clone()
    near[:2] = near[:2].flip(0)
    far[:6] = far[:6].flip(0)
    assert detection_report(faces(), faces()[near], None, None).verdict == FIT
    report = detection_report(faces(), faces()[far], None, None)
    assert report.verdict == UNFIT and "swaps" in report.reasons[0]


@pytest.mark.parametrize(("cosine", "verdict"), [(0.9995, FIT), (0.9985, UNFIT)])
def test_embeddings_from_cheaper_landmarks_have_a_limit(cosine, verdict):
    report = detection_report(faces(), faces(), embeddings(), noisy(cosine))
    assert report.verdict == verdict
    assert report.figures["cosine_median"] == pytest.approx(cosine)


@pytest.mark.parametrize(("cosine", "verdict"), [(0.9995, FIT), (0.985, UNFIT)])
def test_cheaper_embeddings_have_a_limit(cosine, verdict):
    report = recognition_report(embeddings(), noisy(cosine), 2)
    assert report.verdict == verdict, report
    assert report.faces == COUNT


def test_who_is_more_alike_must_stay_so():
    # Two people, five pictures of each, and embeddings that are alike to the limit in fp32, but
    # for which strangers are as alike as one person's pictures.
    random = np.random.default_rng(3)
    people = np.repeat(np.eye(16)[:2], 5, axis=0)
    want = people + 0.05 * random.normal(size=(10, 16))
    got = want + 0.05 * people[::-1]
    assert recognition_report(want, got, 10).verdict == FIT
    got = np.where(np.arange(10)[:, None] == 0, want[9], want)
    report = recognition_report(want, got, 10)
    assert report.verdict == UNFIT and "order_of_pairs_changed" in "".join(report.reasons)


def test_a_few_faces_prove_nothing():
    few = faces()[torch.arange(3)]
    report = detection_report(few, few, None, None)
    assert report.verdict == UNTESTED and "FASTFACE_CALIBRATION" in report.reasons[0]
    assert recognition_report(np.empty((0, 1)), np.empty((0, 1)), 5).verdict == UNTESTED

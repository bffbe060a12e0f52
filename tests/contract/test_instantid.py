"""InstantID and EcomID: a loop over shrinking sizes, one face by area, fields read as items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from tests.contract.compare import LANDMARK_PX, assert_same_identity
from tests.contract.conftest import Counted

LARGEST, SMALLEST = -1, 0


def as_image(*photos: np.ndarray) -> torch.Tensor:
    """A ComfyUI IMAGE of photos of one size."""
    return torch.from_numpy(np.stack(photos)[..., ::-1].copy()).float() / 255


def features(
    insightface: Any, image: torch.Tensor, field: str, which: int = LARGEST
) -> list[torch.Tensor]:
    """What both packs take from each picture, asked for as they ask for it."""
    pictures = (image * 255).clamp(0, 255).byte().cpu()[..., [2, 1, 0]].numpy()
    found = []
    insightface.det_model.input_size = (640, 640)
    for i in range(pictures.shape[0]):
        for side in range(640, 128, -64):
            insightface.det_model.input_size = (side, side)
            faces = insightface.get(pictures[i])
            if faces:
                faces = sorted(
                    faces,
                    key=lambda x: (x["bbox"][2] - x["bbox"][0]) * (x["bbox"][3] - x["bbox"][1]),
                )
                found.append(torch.from_numpy(faces[which][field]).unsqueeze(0))
                break
    return found


@pytest.mark.parametrize("which", [LARGEST, SMALLEST], ids=["instantid", "ecomid_smallest"])
def test_same_embedding_and_keypoints_as_upstream(
    app: FaceAnalysis, upstream: Any, crowd: np.ndarray, which: int
):
    image = as_image(crowd)
    (mine,) = features(app, image, "embedding", which)
    (theirs,) = features(upstream, image, "embedding", which)
    assert mine.shape == theirs.shape
    assert_same_identity(mine.numpy(), theirs.numpy())
    (mine,), (theirs,) = (features(each, image, "kps", which) for each in (app, upstream))
    assert mine.shape == theirs.shape == (1, 5, 2)
    assert (mine - theirs).abs().max() < LANDMARK_PX


def test_the_second_question_about_an_image_runs_no_network(counted: Counted, crowd: np.ndarray):
    image = as_image(crowd)
    features(counted.app, image, "embedding")
    assert counted.since() == [("detection", 1), ("recognition", 1)]
    features(counted.app, image, "kps")
    features(counted.app, image, "embedding")
    assert counted.since() == []


def test_each_image_of_a_batch(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    image = as_image(crowd, crowd[:, ::-1])
    mine, theirs = (features(each, image, "embedding") for each in (app, upstream))
    assert len(mine) == len(theirs) == 2
    for ours, reference in zip(mine, theirs, strict=True):
        assert_same_identity(ours.numpy(), reference.numpy())


def test_without_a_face_every_size_is_tried_and_nothing_found(
    counted: Counted, landscape: np.ndarray
):
    assert features(counted.app, as_image(landscape), "embedding") == []
    assert counted.totals() == {"detection": 8}

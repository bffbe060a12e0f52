from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.nodes.bbox_detector import FastFaceBBoxDetector
from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.embed import FastFaceEmbed
from fastface.nodes.keypoints import FastFaceKeypoints
from fastface.nodes.person import FastFacePerson
from fastface.utils.embedding import Embedding
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from tests.nodes.fakes import BOXES, images_with


def choose(app: Any, **inputs: Any) -> Any:
    faceanalysis, insightface = FastFacePerson().choose(app, **inputs)["result"]
    assert faceanalysis is insightface is not app
    return faceanalysis


def text(app: Any, **inputs: Any) -> str:
    return "".join(FastFacePerson().choose(app, **inputs)["ui"]["text"])


def rows(faces: Faces) -> list[int]:
    return [BOXES.index([round(value) for value in box]) for box in faces.boxes.tolist()]


def detected(app: Any) -> list[int]:
    return rows(FastFaceDetect().detect(app, images_with(3))["result"][0])


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, [2]),
        ({"by": "left to right", "index": 1}, [0]),
        ({"by": "left to right", "keep": "first"}, [1, 0, 2]),
        ({"by": "left to right", "index": 9}, []),
    ],
)
def test_our_nodes_see_what_others_see(face_analysis, inputs: dict[str, Any], expected: list[int]):
    app = choose(face_analysis, **inputs)
    assert detected(app) == expected
    (detector, _) = FastFaceBBoxDetector().make(app)["result"]
    assert len(detector.detect(images_with(3), 0.5, 0, 1.0)[1]) == len(expected)
    (embedded, mean) = FastFaceEmbed().embed(app, images_with(3), "all")["result"]
    assert rows(embedded) == expected and len(mean.vector) == bool(expected)
    (drawn,) = FastFaceKeypoints().draw(app, images_with(3))["result"]
    assert bool(drawn.any()) == bool(expected)
    assert detected(face_analysis) == [0, 1, 2]


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([[[0.0, 1.0]]]),
        torch.tensor([[0.0, 1.0]], dtype=torch.float16),
    ],
)
def test_masks(face_analysis, mask: torch.Tensor):
    app = choose(face_analysis, mask=mask)
    mask.zero_()
    assert detected(app) == [2], "the mask is kept as it was"


def test_says_who_it_is_and_that_a_mask_is_black(face_analysis):
    assert text(face_analysis) == "the first face by largest, alone"
    said = text(face_analysis, mask=torch.zeros(1, 64, 64), keep="first", index=2)
    assert said == (
        "face 2 (counted from 0) by largest, with its centre in the mask, before the others\n"
        "the mask is black: nobody fits"
    )


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"mask": torch.zeros(3, 4, 4)}, "got 3 masks, expected one"),
        ({"mask": torch.zeros(1, 0, 4)}, r"got \(1, 0, 4\) on the mask input, expected a MASK"),
        ({"mask": torch.zeros(4)}, r"got \(4,\) on the mask input"),
        ({"mask": np.zeros((1, 4, 4))}, "got ndarray on the mask input"),
        ({"mask": torch.full((1, 4, 4), torch.nan)}, "NaN or infinite values on the mask input"),
        ({"by": "most similar"}, "needs a reference"),
        ({"reference": Embedding(torch.ones(1, 3), "another")}, "can't be compared"),
    ],
)
def test_what_can_not_be_is_refused(face_analysis, inputs: dict[str, Any], match: str):
    node = NODE_CLASS_MAPPINGS["FastFacePerson"]()
    with pytest.raises(InvalidInput, match=match):
        node.choose(face_analysis, **inputs)


def test_a_reference_without_a_face_fits_nobody(face_analysis):
    nobody = Embedding(torch.zeros(0, 0), None)
    assert detected(choose(face_analysis, reference=nobody)) == []
    assert detected(choose(face_analysis, reference=nobody, keep="first")) == [0, 1, 2]
    assert "in whose photos there was no face" in text(face_analysis, reference=nobody)

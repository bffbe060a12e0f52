"""What nodes say of a run, with the same keys whether there is a face or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.nodes.texts import counted, faces_in, places, with_text
from fastface.utils.embedding import Embedding
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.text import quoted
from tests.nodes.fakes import images_with


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ((0,), "no face in 1 image"),
        ((), "no face in 0 images"),
        ((1,), "1 face in 1 image"),
        ((2, 1), "3 faces in 2 images"),
        ((0, 3, 0), "3 faces in 1 of 3 images"),
    ],
)
def test_faces_in(face_analysis, images: tuple[int, ...], expected: str):
    assert faces_in(face_analysis.analyze(Images.from_comfy(images_with(*images)))) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], ""),
        ([3], "3"),
        ([4, 0, 1, 2], "0-2, 4"),
        (range(0, 60, 2), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 18 more"),
        (range(1000), "0-999"),
    ],
)
def test_places(numbers: Any, expected: str):
    assert places(numbers) == expected


def test_counted():
    assert [counted(number, "crop") for number in (0, 1, 2)] == ["0 crops", "1 crop", "2 crops"]


def test_quoted_is_short():
    assert quoted("x") == "'x'" and quoted(float("nan")) == "nan" and quoted(None) == "None"
    assert quoted(torch.zeros(999)) == "of type Tensor"
    assert len(quoted("x" * 10_000)) < 100


def test_with_text():
    assert with_text("a", 1, 2) == {"ui": {"text": ["a"]}, "result": (1, 2)}
    assert with_text("a", images=[]) == {"ui": {"text": ["a"], "images": []}, "result": ()}


def outputs_of(face_analysis, images: torch.Tensor) -> dict[str, dict[str, Any]]:
    """What every node on images or faces gives."""
    faces = face_analysis.analyze(Images.from_comfy(images), ["recognition"])
    found = {"images": images, "faces": faces}
    analysed = {"faceanalysis": face_analysis, "images": images}
    given = {
        "FastFaceDetect": analysed,
        "FastFaceEmbed": analysed,
        "FastFaceKeypoints": analysed,
        "FastFaceSelect": {"faces": faces},
        "FastFaceGate": found,
        "FastFaceCrop": found,
        "FastFaceSEGS": found,
        "FastFaceCompare": {"faces_a": faces, "faces_b": faces},
    }
    results = {}
    for node_id, inputs in given.items():
        node = NODE_CLASS_MAPPINGS[node_id]()
        results[node_id] = getattr(node, node.FUNCTION)(**inputs)
    crops, origin, *_ = results["FastFaceCrop"]["result"]
    paste = {"images": images, "crops": crops, "origin": origin}
    results["FastFacePaste"] = NODE_CLASS_MAPPINGS["FastFacePaste"]().paste(**paste)
    return results


@pytest.mark.parametrize("without", [(0,), (0, 0, 0)])
def test_each_node_says_no_face_with_the_keys_it_always_has(face_analysis, without):
    nobody = outputs_of(face_analysis, images_with(*without))
    somebody = outputs_of(face_analysis, images_with(1, 2))
    for node_id, output in nobody.items():
        (text,) = output["ui"]["text"]
        assert "no face in " in text, node_id
        assert "no face" not in somebody[node_id]["ui"]["text"][0], node_id
        assert output["ui"].keys() == somebody[node_id]["ui"].keys(), node_id
        assert len(output["result"]) == len(NODE_CLASS_MAPPINGS[node_id].RETURN_TYPES), node_id


def test_a_reference_without_a_face_picks_nobody(face_analysis):
    faces = face_analysis.analyze(Images.from_comfy(images_with(2)), ["recognition"])
    nobody = Embedding(torch.zeros(0, 3), None)
    for by in ("largest", "most similar"):
        output = NODE_CLASS_MAPPINGS["FastFaceSelect"]().select(
            faces, by=by, threshold=-1.0, reference=nobody
        )
        picked, count, found = output["result"]
        assert isinstance(picked, Faces) and (count, found) == (0, False)
        assert picked.image_sizes == faces.image_sizes
        assert "no face in the photos of the reference" in output["ui"]["text"][0]

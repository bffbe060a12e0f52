"""RetinaFace's outputs, whatever network they come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastface.utils.detectors.retinaface import RetinaFace
from fastface.utils.errors import ModelError
from fastface.utils.packs import ModelFile
from fastface.utils.packs.graph_header import GraphHeader, TensorInfo

MODEL = ModelFile(Path("face.onnx"), "detection")


def outputs(images: int, priors: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    sizes = {"loc": 4, "conf": 2, "landms": 10}
    return {name: torch.rand(images, priors, n, generator=random) for name, n in sizes.items()}


def test_the_order_of_the_outputs_is_the_graphs():
    found = outputs(2, 2 * (4 * 6 + 2 * 3 + 1 * 2))
    usual = RetinaFace().decode(list(found.values()), MODEL, (32, 48), 0.5)
    turned = dict(reversed(found.items()))
    infos = tuple(TensorInfo(name, "float32", (None, None, None)) for name in turned)
    header = GraphHeader((TensorInfo("in", "float32", (1, 3, None, None)),), infos, (), (), 1, 11)
    model = ModelFile(Path("face.onnx"), "detection", header=header)
    other = RetinaFace().decode(list(turned.values()), model, (32, 48), 0.5)
    assert usual.present.any() and torch.equal(usual.boxes, other.boxes)
    assert torch.equal(usual.scores, other.scores)


@pytest.mark.parametrize(("canvas_hw", "priors"), [((32, 48), 64), ((33, 48), 86), ((1, 1), 6)])
def test_sizes_that_are_no_multiples_of_the_strides(canvas_hw: tuple[int, int], priors: int):
    found = RetinaFace().decode(list(outputs(1, priors).values()), MODEL, canvas_hw, 0.0)
    assert found.boxes.shape == (1, priors, 4)


def test_refuses_outputs_of_another_input():
    with pytest.raises(ModelError, match=r"for a 48 x 32 input, expected \[images, 64, 4\]"):
        RetinaFace().decode(list(outputs(1, 60).values()), MODEL, (32, 48), 0.5)

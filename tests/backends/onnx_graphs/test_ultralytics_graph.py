"""Graphs of ultralytics' checkpoints, against the networks that were saved in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.onnx_graphs.ultralytics_graph import graph_of_checkpoint
from fastface.utils.detectors import family_of_graph
from fastface.utils.errors import ModelError
from fastface.utils.packs.detector_files import detector_at
from fastface.utils.packs.ultralytics import read_ultralytics_header
from tests.backends.onnx_graphs.tiny_yolo import save, tiny_yolo

KINDS = {"boxes": None, "x, y": 2, "x, y, visibility": 3}


@pytest.fixture(params=KINDS)
def points(request: pytest.FixtureRequest) -> int | None:
    return KINDS[request.param]


@pytest.mark.parametrize("size_hw", [(64, 64), (96, 160)])
def test_computes_what_the_network_does(points: int | None, size_hw: Any, tmp_path: Path):
    model = tiny_yolo(points)
    data = graph_of_checkpoint(save(model, tmp_path / "face.pt"))
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    images = torch.rand(3, 3, *size_hw, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(images).numpy()
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"images": images.numpy()})
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-3
    for place in range(3):
        (single,) = session.run(None, {"images": images[place : place + 1].numpy()})
        assert np.abs(single[0] - got[place]).max() < 1e-3
    network = Network(graph_of(onnx.load_from_string(data), "face.pt")).eval()
    with torch.inference_mode():
        assert np.abs(network(images)[0].numpy() - expected).max() < 1e-3


def test_its_header_is_that_of_the_graph(points: int | None, tmp_path: Path):
    path = save(tiny_yolo(points), tmp_path / "face.pt")
    header = read_ultralytics_header(path)
    family = family_of_graph(header)
    assert family is not None and family.name.startswith("YOLOv8-face")
    model = detector_at(path)
    assert model.path == path and family.has_landmarks(model) == (points is not None)
    graph = onnx.load_from_string(graph_of_checkpoint(path)).graph
    assert header.outputs[0].shape[1] == graph.output[0].type.tensor_type.shape.dim[1].dim_value


def test_no_weights_are_read_for_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from fastface.utils.packs.torch_checkpoint import Checkpoint

    monkeypatch.setattr(Checkpoint, "array", lambda *_: pytest.fail("read"))
    assert read_ultralytics_header(save(tiny_yolo(), tmp_path / "face.pt"))


def test_the_averaged_weights_are_taken_where_they_are_saved(tmp_path: Path):
    model, averaged = tiny_yolo(), tiny_yolo(seed=1)
    path = save(model, tmp_path / "face.pt", ema=averaged.half())
    averaged.float()
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(
        graph_of_checkpoint(path), providers=["CPUExecutionProvider"]
    )
    images = torch.rand(1, 3, 64, 64)
    (got,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        assert np.abs(got - averaged(images).numpy()).max() < 1e-3


def test_what_finds_no_faces_is_refused(tmp_path: Path):
    path = save(tiny_yolo(name="hand"), tmp_path / "face.pt")
    with pytest.raises(ModelError, match=r"no face detector of a family .*output0"):
        detector_at(path)


def test_other_networks_are_refused_with_the_command_that_exports(tmp_path: Path):
    path = tmp_path / "weights.pt"
    torch.save({"model": nn.Linear(2, 2)}, path)
    with pytest.raises(ModelError, match=r'yolo export model=".*weights.pt" format=onnx') as error:
        detector_at(path)
    assert "torch.nn.modules.linear.Linear" in str(error.value)


def test_layers_that_are_not_known_are_refused_with_the_command_that_exports(tmp_path: Path):
    model = tiny_yolo()
    model.model[0].act = nn.Softplus()
    path = save(model, tmp_path / "face.pt")
    with pytest.raises(ModelError, match=r"Softplus, which is not known here .*yolo export model="):
        graph_of_checkpoint(path)

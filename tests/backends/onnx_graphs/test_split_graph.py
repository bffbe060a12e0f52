"""SplitGraph are proved before use, kept on disk, and refused with a reason where they differ."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from fastface.backends.onnx_graphs import split_graph
from fastface.backends.onnx_graphs.batched import batched_graph
from fastface.backends.onnx_graphs.split_graph import split_graph_of
from fastface.backends.onnx_graphs.split_point import ReceptiveField, SplitPoint
from fastface.benchmark.synthetic_models.detectors import SCRFD_10G, SCRFD_500M, scrfd
from fastface.utils.packs import ModelFile
from fastface.utils.packs.read import read_pack
from tests.backends.onnx_graphs.small_graphs import detector

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def graph() -> Any:
    return scrfd(SCRFD_500M)


def prepared(graph: Any, folder: Path, **fields: Any) -> tuple[Path, ModelFile]:
    path = folder / "detector.onnx"
    onnx.save(graph, path)
    (model,) = read_pack("pack", folder).models
    model = ModelFile(**{**vars(model), **fields})
    return batched_graph(model).path, model


@pytest.mark.parametrize("layers", [SCRFD_500M, SCRFD_10G], ids=["mobile", "residual"])
def test_stand_ins_are_cut_in_their_backbone(layers: Any, tmp_path: Path):
    path, model = prepared(scrfd(layers), tmp_path)
    found = split_graph_of(path, model)
    assert found is not None
    assert (
        found.split_point.rows == found.split_point.columns
        and found.split_point.rows.stride in (4, 8)
    )
    front, back = onnx.load(found.front), onnx.load(found.back)
    assert len(front.graph.node) > 5 and len(back.graph.node) > 5
    assert [entry.name for entry in front.graph.output] == [found.split_point.value]
    assert [entry.name for entry in back.graph.input] == [found.split_point.value]
    # No weight is in both: together they take no more memory than the whole.
    weights = [{tensor.name for tensor in half.graph.initializer} for half in (front, back)]
    assert not weights[0] & weights[1]


def test_the_released_detector_is_cut(test_data: Path):
    model = read_pack("models", test_data / "models").model("detection")
    found = split_graph_of(batched_graph(model).path, model)
    assert found is not None and found.split_point.rows == ReceptiveField(4, -29, 31)


def test_a_proved_cut_is_kept_and_found_again(graph: Any, tmp_path: Path, monkeypatch):
    path, model = prepared(graph, tmp_path)
    first = split_graph_of(path, model)
    monkeypatch.setattr(split_graph, "best_split_point", None)
    assert split_graph_of(path, model) == first


@pytest.mark.parametrize("missing", ["front", "back"])
def test_a_half_that_is_gone_is_made_again(graph: Any, tmp_path: Path, missing: str):
    path, model = prepared(graph, tmp_path)
    first = split_graph_of(path, model)
    assert first is not None
    getattr(first, missing).unlink()
    assert split_graph_of(path, model) == first and getattr(first, missing).is_file()


def test_graphs_of_one_size_are_cut_too(graph: Any, tmp_path: Path):
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graph)
    for axis, side in ((0, 1), (2, 320), (3, 320)):
        fixed.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
        fixed.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    assert dims[2].dim_value != 320
    path, model = prepared(fixed, tmp_path)
    assert model.fixed_size_wh == (320, 320)
    found = split_graph_of(path, model)
    assert found is not None
    for half in (found.front, found.back):
        shape = onnx.load(half).graph.input[0].type.tensor_type.shape.dim
        assert [bool(shape[axis].dim_param) for axis in (0, 2, 3)] == [True] * 3


def test_a_wrong_window_is_found_out(graph: Any, tmp_path: Path, monkeypatch, caplog, cache: Path):
    right = split_graph.best_split_point

    def wrong(graph: Any) -> SplitPoint:
        found = right(graph)
        narrow = ReceptiveField(found.rows.stride, 0, found.rows.stride - 1)
        return SplitPoint(found.value, narrow, narrow)

    monkeypatch.setattr(split_graph, "best_split_point", wrong)
    path, model = prepared(graph, tmp_path)
    with caplog.at_level(logging.INFO, logger="FastFace"):
        assert split_graph_of(path, model) is None
    assert "halves differ" in caplog.text and "is run whole" in caplog.text
    # It is remembered, and nothing of the halves is left.
    monkeypatch.setattr(split_graph, "best_split_point", None)
    assert split_graph_of(path, model) is None
    assert not list((cache / "graphs").glob("*.front.onnx"))


def test_no_halves_where_nothing_is_spared(tmp_path: Path):
    path = tmp_path / "detector.onnx"
    onnx.save(detector(), path)
    model = ModelFile(path, "detection", (1, 3, None, None), output_shapes=((None, 1),) * 9)
    assert split_graph_of(batched_graph(model).path, model) is None


def test_what_onnx_can_not_take_apart_stays_whole(graph: Any, tmp_path: Path, caplog, cache: Path):
    annotated = onnx.ModelProto()
    annotated.CopyFrom(graph)
    annotated.graph.quantization_annotation.add().tensor_name = "input.1"
    path, model = prepared(annotated, tmp_path)
    with caplog.at_level(logging.INFO, logger="FastFace"):
        assert split_graph_of(path, model) is None
    assert "can't be cut" in caplog.text
    # Another version of onnx may: it is tried again.
    assert not list((cache / "graphs").glob("split*"))

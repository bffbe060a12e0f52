"""Graphs that skip margins are proved before use, kept, and refused where they differ."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from fastface.backends.onnx_graphs import margin_graphs
from fastface.backends.onnx_graphs.batched import batched_graph
from fastface.backends.onnx_graphs.margin_graphs import margin_graphs_of
from fastface.backends.onnx_graphs.margin_points import MarginPoint
from fastface.backends.onnx_graphs.receptive_field import ReceptiveField
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
def test_stand_ins_have_points_all_along_their_backbone(layers: Any, tmp_path: Path):
    path, model = prepared(scrfd(layers), tmp_path)
    found = margin_graphs_of(path, model)
    assert found is not None
    assert all(point.rows == point.columns for point in found.points)
    assert {point.rows.stride for point in found.points} == {4, 8}
    names = [f"fastface:margin:{number}" for number in range(len(found.points))]
    for graph in map(onnx.load, found.along.values()):
        image, *more = (entry.name for entry in graph.graph.input)
        assert image == "input.1" and more == names
        channels = [e.type.tensor_type.shape.dim[1].dim_value for e in graph.graph.input]
        assert all(channels)
    empty = onnx.load(found.empty)
    assert [e.name for e in empty.graph.output] == [point.value for point in found.points]


def test_the_released_detector_has_points_between_its_blocks(test_data: Path):
    model = read_pack("models", test_data / "models").model("detection")
    found = margin_graphs_of(batched_graph(model).path, model)
    assert found is not None and len(found.points) == 9
    first, *_, last = found.points
    assert first.rows == ReceptiveField(4, -5, 7, 1024)
    assert last.rows == ReceptiveField(8, -105, 107, 512)


def test_proved_graphs_are_kept_and_found_again(graph: Any, tmp_path: Path, monkeypatch):
    path, model = prepared(graph, tmp_path)
    first = margin_graphs_of(path, model)
    monkeypatch.setattr(margin_graphs, "best_margin_points", None)
    assert margin_graphs_of(path, model) == first


@pytest.mark.parametrize("missing", ["rows", "columns", "empty"])
def test_a_graph_that_is_gone_is_made_again(graph: Any, tmp_path: Path, missing: str):
    path, model = prepared(graph, tmp_path)
    first = margin_graphs_of(path, model)
    assert first is not None
    files = {"rows": first.along[2], "columns": first.along[3], "empty": first.empty}
    files[missing].unlink()
    assert margin_graphs_of(path, model) == first and files[missing].is_file()


def test_graphs_of_one_size_skip_margins_too(graph: Any, tmp_path: Path):
    dims = graph.graph.input[0].type.tensor_type.shape.dim
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graph)
    for axis, side in ((0, 1), (2, 320), (3, 320)):
        fixed.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
        fixed.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    assert dims[2].dim_value != 320
    path, model = prepared(fixed, tmp_path)
    assert model.fixed_size_wh == (320, 320)
    found = margin_graphs_of(path, model)
    assert found is not None
    for file in (*found.along.values(), found.empty):
        shape = onnx.load(file).graph.input[0].type.tensor_type.shape.dim
        assert [bool(shape[axis].dim_param) for axis in (0, 2, 3)] == [True] * 3


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_a_wrong_window_is_found_out(
    graph: Any, tmp_path: Path, monkeypatch, caplog, cache: Path, axis: str
):
    right = margin_graphs.best_margin_points

    def wrong(graph: Any) -> tuple[MarginPoint, ...]:
        *others, last = right(graph)
        field = last.rows
        narrow = ReceptiveField(field.stride, 0, others[-1].rows.last, field.count)
        return (*others, MarginPoint(**{**vars(last), axis: narrow}))

    monkeypatch.setattr(margin_graphs, "best_margin_points", wrong)
    path, model = prepared(graph, tmp_path)
    with caplog.at_level(logging.INFO, logger="FastFace"):
        assert margin_graphs_of(path, model) is None
    assert "answers without margins differ" in caplog.text and "is run whole" in caplog.text
    # It is remembered, and nothing of the graphs is left.
    monkeypatch.setattr(margin_graphs, "best_margin_points", None)
    assert margin_graphs_of(path, model) is None
    assert not list((cache / "graphs").glob("margins-*.onnx"))


def test_none_where_nothing_is_spared(tmp_path: Path):
    path = tmp_path / "detector.onnx"
    onnx.save(detector(), path)
    model = ModelFile(path, "detection", (1, 3, None, None), output_shapes=((None, 1),) * 9)
    assert margin_graphs_of(batched_graph(model).path, model) is None


def test_what_onnx_can_not_take_apart_stays_whole(graph: Any, tmp_path: Path, caplog, cache: Path):
    annotated = onnx.ModelProto()
    annotated.CopyFrom(graph)
    annotated.graph.quantization_annotation.add().tensor_name = "input.1"
    path, model = prepared(annotated, tmp_path)
    with caplog.at_level(logging.INFO, logger="FastFace"):
        assert margin_graphs_of(path, model) is None
    assert "can't be taken apart" in caplog.text
    # Another version of onnx may: it is tried again.
    assert not list((cache / "graphs").glob("margins*"))


def test_none_for_operators_of_another_age(graph: Any, tmp_path: Path):
    old = onnx.ModelProto()
    old.CopyFrom(graph)
    old.opset_import[0].version = 9
    path, model = prepared(old, tmp_path)
    assert margin_graphs_of(path, model) is None

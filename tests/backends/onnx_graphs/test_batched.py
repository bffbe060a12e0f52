"""Rewrites are proved before use, kept on disk, and refused with a reason when they differ."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastface.backends.onnx_graphs import batched
from fastface.backends.onnx_graphs.batched import batched_graph, why_different
from fastface.utils.packs import ModelFile
from tests.backends.onnx_graphs.small_graphs import detector, embedder

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.usefixtures("cache")


def written(model, folder: Path, task: str, **fields) -> ModelFile:
    path = folder / f"{task}.onnx"
    onnx.save(model, path)
    shape = (1, 3, None, None) if task == "detection" else (1, 3, 112, 112)
    return ModelFile(path, task, input_shape=shape, output_shapes=((1, 16),), **fields)


def test_a_proved_rewrite_is_kept_and_found_again(tmp_path: Path, cache: Path, monkeypatch) -> None:
    model = written(detector(), tmp_path, "detection")
    first = batched_graph(model)
    assert first.takes_batches and not first.note
    assert first.path.parent == cache / "graphs"
    # The second time nothing is rewritten.
    monkeypatch.setattr(batched, "with_batch_axis", None)
    assert batched_graph(model) == first


def test_another_file_of_the_same_name_is_another_graph(tmp_path: Path) -> None:
    first = batched_graph(written(detector(), tmp_path, "detection"))
    second = batched_graph(written(detector(opset=13), tmp_path, "detection"))
    assert first.path != second.path


def test_a_graph_that_takes_batches_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(embedder("flatten", batch="N"), path)
    model = ModelFile(path, "recognition", (None, 3, 112, 112), output_shapes=((None, 16),))
    first = batched_graph(model)
    assert first.path == path and first.takes_batches
    # Proved once.
    monkeypatch.setattr(batched, "why_different", None)
    assert batched_graph(model) == first


def test_a_graph_that_only_says_it_takes_batches_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(embedder("mixes_images", batch="N"), path)
    model = ModelFile(path, "recognition", (None, 3, 112, 112), output_shapes=((None, 16),))
    assert model.takes_batches
    graph = batched_graph(model)
    assert graph.path == path and not graph.takes_batches
    assert "image by image" in graph.note


def test_what_mixes_images_is_run_one_by_one_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = written(embedder("mixes_images"), tmp_path, "recognition")
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        first, second = batched_graph(model), batched_graph(model)
    assert first == second
    assert first.path == model.path and not first.takes_batches
    assert "image by image" in first.note
    # Proved once, said once.
    assert [record.getMessage() for record in caplog.records] == [first.note]


def test_a_rewrite_that_changes_an_answer_is_found_out(tmp_path: Path) -> None:
    model = written(embedder("flatten"), tmp_path, "recognition")
    wrong = embedder("flatten", batch="batch")
    scaled = onnx.numpy_helper.to_array(wrong.graph.initializer[1]) * 1.001
    wrong.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(scaled, "matrix"))
    reason = why_different(embedder("flatten"), wrong, model, (1, 3, 112, 112))
    assert reason is not None and "differs" in reason

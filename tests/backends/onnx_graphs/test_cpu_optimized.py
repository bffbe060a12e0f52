"""Tuned graphs are proved before use, kept on disk, and not used where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.onnx_graphs import cpu_optimized
from fastface.backends.onnx_graphs.batched import BatchedGraph, batched_graph
from fastface.backends.onnx_graphs.cpu_optimized import tuned_graph
from fastface.backends.onnx_graphs.decompose_prelu import write_out_prelu
from fastface.utils.packs import ModelFile
from tests.backends.onnx_graphs.small_graphs import detector, embedder, in_onnxruntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def on_x86(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(cpu_optimized, "is_x86", lambda: True)


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    """A recogniser with a PRelu in it."""
    path = tmp_path / "recogniser.onnx"
    onnx.save(embedder("flatten"), path)
    return ModelFile(path, "recognition", (1, 3, 112, 112), output_shapes=((1, 16),))


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_is_made_once_and_gives_the_same(model: ModelFile, cache: Path, monkeypatch) -> None:
    prepared = batched_graph(model)
    first = tuned_graph(prepared, model)
    assert first.takes_batches and first.path.parent == cache / "graphs"
    assert "PRelu" in operators(prepared.path) and "PRelu" not in operators(first.path)
    images = np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32)
    wanted, got = (in_onnxruntime(onnx.load(graph.path), images) for graph in (prepared, first))
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-4, atol=1e-5)
    # The second time nothing is read, written or tried.
    monkeypatch.setattr(cpu_optimized, "read_model", None)
    assert tuned_graph(prepared, model) == first


def test_that_there_is_nothing_to_gain_is_remembered(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "detector.onnx"
    onnx.save(detector(), path)
    model = ModelFile(path, "detection", (1, 3, None, None), output_shapes=((None, 1),) * 9)
    prepared = batched_graph(model)
    assert tuned_graph(prepared, model) == prepared
    monkeypatch.setattr(cpu_optimized, "read_model", None)
    assert tuned_graph(prepared, model) == prepared


def test_a_wrong_rewriting_is_found_out(model: ModelFile, cache: Path, monkeypatch) -> None:
    def wrong(graph: Any) -> int:
        replaced = write_out_prelu(graph)
        conv = next(node for node in graph.graph.node if "change" in node.output[0])
        weight = next(each for each in graph.graph.initializer if each.name == conv.input[1])
        halved = onnx.numpy_helper.to_array(weight) / 2
        weight.CopyFrom(onnx.numpy_helper.from_array(halved, weight.name))
        return replaced

    monkeypatch.setattr(cpu_optimized, "write_out_prelu", wrong)
    prepared = batched_graph(model)
    before = set((cache / "graphs").iterdir())
    assert tuned_graph(prepared, model) == prepared
    # What was found out is all that is left of it.
    (refusal,) = set((cache / "graphs").iterdir()) - before
    assert "differs from single images" in refusal.read_text(encoding="utf-8")


def test_other_processors_are_left_alone(model: ModelFile, monkeypatch) -> None:
    monkeypatch.setattr(cpu_optimized, "is_x86", lambda: False)
    prepared = batched_graph(model)
    assert tuned_graph(prepared, model) == prepared


def test_what_runs_image_by_image_is_left_alone(model: ModelFile) -> None:
    alone = BatchedGraph(model.path, False, "a reason")
    assert tuned_graph(alone, model) == alone

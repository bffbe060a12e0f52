"""A converted graph runs as the file it was made of does, and is made once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs import folded_weights
from fastface.backends.onnx_graphs.batch_axis import with_batch_axis
from fastface.backends.onnx_graphs.folded_weights import folded_graph
from fastface.backends.onnx_graphs.graph import Graph, Node, fold_batch_norms, graph_of
from fastface.backends.onnx_graphs.network import Network
from fastface.benchmark.synthetic_models.detectors import SCRFD_500M, scrfd
from fastface.benchmark.synthetic_models.heads import gender_age
from fastface.benchmark.synthetic_models.recognizers import mobile_face_net
from fastface.utils import host

onnx = pytest.importorskip("onnx")
save = pytest.importorskip("safetensors.numpy").save


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(host, "cache_folder", lambda: folder)
    return folder / "graphs"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "genderage.onnx"
    onnx.save(with_batch_axis(gender_age()), path)
    return path


def answers(graph: Graph, side: int) -> tuple[torch.Tensor, ...]:
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.inference_mode():
        return Network(graph).eval()(x)


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (lambda: scrfd(SCRFD_500M), 64),
        (lambda: mobile_face_net("mbf", "516"), 112),
        (gender_age, 96),
    ],
    ids=["scrfd", "mobilefacenet", "genderage"],
)
def test_gives_the_very_answers_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable, side: int
) -> None:
    model = with_batch_axis(make())
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    expected = answers(fold_batch_norms(graph_of(model, "model.onnx")), side)
    first = answers(folded_graph(path, "model.onnx"), side)
    monkeypatch.setattr(folded_weights, "read_model", None)  # from here on nothing is parsed
    graph = folded_graph(path, "another name")
    assert graph.name == "another name"
    for want, fresh, kept in zip(expected, first, answers(graph, side), strict=True):
        assert torch.equal(fresh, want) and torch.equal(kept, want)


def test_kernels_are_not_copied_again(path: Path) -> None:
    folded_graph(path, "")
    graph = folded_graph(path, "")
    read = {value.__array_interface__["data"][0] for value in graph.constants.values()}
    kernels = [buffer.data_ptr() for buffer in Network(graph).buffers() if buffer.ndim == 4]
    assert kernels and read.issuperset(kernels)


def test_another_content_is_converted_anew(path: Path, cache: Path) -> None:
    folded_graph(path, "")
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"changed": "yes"})
    onnx.save(model, path)
    folded_graph(path, "")
    assert len(list(cache.glob("*.safetensors"))) == 2


def test_one_that_is_whole_but_no_graph_is_made_again(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = answers(folded_graph(path, ""), 96)
    (file,) = cache.glob("*.safetensors")
    file.unlink()
    (cache / file.name.replace(".safetensors", ".entry")).unlink()
    with monkeypatch.context() as patched:
        patched.setattr(folded_weights, "_write", lambda path, graph: path.write_bytes(save({})))
        patched.setattr(folded_weights, "_read", lambda path: Graph("", ("x",), (), (), {}, 11))
        folded_graph(path, "")
    with caplog.at_level(logging.WARNING, "FastFace"):
        graph = folded_graph(path, "")
    assert len(caplog.records) == 1 and "made again" in caplog.text
    assert all(map(torch.equal, answers(graph, 96), expected))
    assert all(map(torch.equal, answers(folded_graph(path, ""), 96), expected))
    assert len(caplog.records) == 1


def test_nothing_is_kept_without_safetensors(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded_weights.importlib.util, "find_spec", lambda name: None)
    assert answers(folded_graph(path, ""), 96) and not cache.exists()


def test_attributes_of_every_kind_come_back(cache: Path) -> None:
    attributes = {
        "number": 3,
        "share": 0.1,
        "word": "nearest",
        "several": [1, 2],
        "words": [b"one", b"two"],
        "array": np.array([[0.5]], np.float32),
    }
    node = Node("Op", "name", ("x", "", "shape"), ("y",), attributes)
    constants = {"shape": np.array(-1, np.int64), "unused": np.ones(1)}
    graph = Graph("g", ("x", "fastface:margin:0"), ("y",), (node,), constants, 13)
    cache.mkdir(parents=True)
    folded_weights._write(cache / "file", graph)
    back = folded_weights._read(cache / "file")
    assert back.opset == 13 and back.outputs == ("y",) and back.inputs == graph.inputs
    assert back.nodes[0].inputs == node.inputs and back.nodes[0].op == "Op"
    assert back.constants == {"shape": np.array(-1)}
    read = dict(back.nodes[0].attributes)
    assert np.array_equal(read.pop("array"), attributes.pop("array"))
    assert read == {**attributes, "words": ["one", "two"]}

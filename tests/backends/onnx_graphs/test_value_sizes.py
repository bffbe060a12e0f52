"""Small files that ask for any amount of memory are refused before any of it is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.onnx_graphs.value_sizes import refuse_absurd_sizes
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.utils.errors import ModelError
from fastface.utils.packs.classify import classify
from fastface.utils.packs.graph_header import read_graph_header

onnx = pytest.importorskip("onnx")

from onnx import helper, numpy_helper  # noqa: E402

from tests.backends.onnx_graphs.small_graphs import detector, embedder  # noqa: E402
from tests.fuzz.cases import peak_bytes  # noqa: E402


def model_file(model: Any, path: Path) -> Any:
    path.write_bytes(model.SerializeToString())
    found = classify(path, read_graph_header(path))
    assert found is not None
    return found


def before_the_first_layer(model: Any, op: str, *constants: Any, **attributes: Any) -> Any:
    """The graph with a node between its input and its first convolution."""
    graph = model.graph
    names = []
    for number, value in enumerate(constants):
        graph.initializer.append(numpy_helper.from_array(value, f"constant{number}"))
        names.append(f"constant{number}")
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == "image":
                node.input[place] = "grown"
    graph.node.insert(0, helper.make_node(op, ["image", *names], ["grown"], **attributes))
    return model


MILLION = 1 << 20


def filled(model: Any) -> Any:
    """With a constant that the file names by its size alone."""
    shape = numpy_helper.from_array(np.array([MILLION, MILLION], np.int64), "size")
    model.graph.initializer.append(shape)
    made = [
        helper.make_node("ConstantOfShape", ["size"], ["all"]),
        helper.make_node("ReduceMean", ["all"], ["mean"], keepdims=0),
    ]
    for node in made:
        model.graph.node.insert(0, node)
    return before_the_first_layer(model, "Add", np.zeros(1, np.float32))


GROWING = {
    "expand": lambda m: before_the_first_layer(m, "Expand", np.array([MILLION, 1, 1, 1])),
    "tile": lambda m: before_the_first_layer(m, "Tile", np.array([1, 1, 1, MILLION])),
    "pad": lambda m: before_the_first_layer(m, "Pad", np.array([0] * 6 + [MILLION] * 2)),
    "resize": lambda m: before_the_first_layer(
        m,
        "Resize",
        np.zeros(0, np.float32),
        np.array([1, 1, 4096, 4096], np.float32),
        mode="nearest",
    ),
    "fill": filled,
}


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "openvino", "insightface"])
@pytest.mark.parametrize("kind", GROWING)
def test_a_node_that_makes_much_of_little(kind: str, backend: str, tmp_path: Path, cache: Path):
    path = tmp_path / "small.onnx"
    file = model_file(GROWING[kind](detector()), path)
    assert path.stat().st_size < 30_000
    engine = get_backend(backend)
    if reason := engine.why_unavailable():
        pytest.skip(reason)
    before = peak_bytes()
    with pytest.raises(ModelError, match=r"small\.onnx makes [\d,]+ numbers .* expected at most"):
        refuse_absurd_sizes(file)
    from fastface.utils.packs import ModelPack

    with pytest.raises(ModelError, match=r"small\.onnx makes [\d,]+ numbers"):
        engine.open(ModelPack("pack", tmp_path, (file,)), "detection", Placement())
    assert peak_bytes() - before < 512 << 20


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ([1, 3, MILLION, MILLION], "of at most 16,777,216 pixels"),
        ([1, 3, 1 << 40, 64], "of at most"),
        ([1, 1 << 30, 640, 640], "expected images"),
        ([1, 4, 640, 640], "expected images"),
    ],
)
def test_an_input_that_no_image_fills(shape: list[int], reason: str, tmp_path: Path, cache: Path):
    model = detector()
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    with pytest.raises(ModelError, match=reason):
        refuse_absurd_sizes(model_file(model, tmp_path / "small.onnx"))


def test_a_crop_that_no_face_fills(tmp_path: Path):
    model = embedder("flatten", size=2048)
    with pytest.raises(ModelError, match="of at most 1,048,576 pixels"):
        refuse_absurd_sizes(model_file(model, tmp_path / "small.onnx"))


@pytest.mark.parametrize("size_hw", [("?", "?"), (640, 640), (2176, 3840)])
def test_what_detectors_are_released_like_passes(size_hw: tuple[Any, Any], tmp_path: Path):
    refuse_absurd_sizes(model_file(detector(size_hw=size_hw), tmp_path / "det.onnx"))


def test_real_networks_pass(test_data: Path):
    for path in (test_data / "models").glob("*.onnx"):
        file = classify(path, read_graph_header(path))
        assert file is not None
        refuse_absurd_sizes(file)

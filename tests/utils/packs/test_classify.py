"""Our reading of a graph against insightface's own routing, on files that both open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fastface.utils.packs import TASK_ORDER
from fastface.utils.packs.classify import classify, task_of
from fastface.utils.packs.graph_header import GraphHeader, TensorInfo, read_graph_header

CROP = (1, 3, 112, 112)
MESH = (1, 3, 192, 192)
SMALL = (1, 3, 96, 96)
ANY_SIZE = (1, 3, "?", "?")
VECTOR = (1, 512)

#: Inputs, outputs, names of the first nodes.
GRAPHS = {
    "nothing for faces": ([(1, 3, 100, 100)], [(1, 2)], ()),
    "too small a crop": ([(1, 3, 64, 64)], [VECTOR], ()),
    "not square": ([(1, 3, 112, 96)], [VECTOR], ()),
    "side no multiple of 16": ([(1, 3, 120, 120)], [VECTOR], ()),
    "detector without landmarks": ([ANY_SIZE], [(12800, 1)] * 6, ()),
    "detector": ([ANY_SIZE], [("?", 1)] * 9, ()),
    "detector of a batch": ([(None, 3, None, None)], [(None, 12800, 1)] * 9, ()),
    "detector of five strides": ([ANY_SIZE], [(100, 1)] * 15, ()),
    "detector of fixed size": ([(1, 3, 640, 640)], [(12800, 4)] * 9, ()),
    "detector with MXNet names": ([ANY_SIZE], [(100, 1)] * 9, ("_minus0", "_mul0", "bn_data")),
    "detector of a crop's size": ([MESH], [(100, 1)] * 10, ()),
    "recogniser": ([CROP], [VECTOR], ()),
    "recogniser of a batch": ([("N", 3, 112, 112)], [("N", 512)], ()),
    "recogniser of 128": ([(1, 3, 128, 128)], [VECTOR], ()),
    "recogniser of 224": ([(1, 3, 224, 224)], [(1, 128)], ()),
    "recogniser with two inputs": ([CROP, (1, 4)], [VECTOR], ()),
    "MXNet recogniser": ([CROP], [VECTOR], ("_minusscalar0", "_mulscalar0")),
    "converted recogniser": ([CROP], [VECTOR], ("id", "Sub_1", "x", "Mul_3")),
    "recogniser that subtracts": ([CROP], [VECTOR], ("Sub", "Add")),
    "recogniser that multiplies": ([CROP], [VECTOR], ("_mulscalar0",)),
    "recogniser with small letters": ([CROP], [VECTOR], ("sub", "mul")),
    "recogniser with late names": ([CROP], [VECTOR], (*"abcdefg", "Sub", "Mul")),
    "recogniser with names in time": ([CROP], [VECTOR], (*"abcdef", "Sub", "Mul")),
    "recogniser with bn_data": ([CROP], [VECTOR], ("bn_data",)),
    "landmarks in the plane": ([MESH], [(1, 212)], ()),
    "other landmarks in the plane": ([MESH], [(1, 137)], ()),
    "landmarks in space": ([MESH], [(1, 3309)], ()),
    "MXNet landmarks": ([MESH], [(1, 212)], ("_minusscalar0", "_mulscalar0")),
    "landmarks with bn_data": ([MESH], [(1, 3309)], ("id", "x", "bn_data")),
    "landmarks with late bn_data": ([MESH], [(1, 3309)], ("id", "x", "y", "bn_data")),
    "gender and age": ([SMALL], [(1, 3)], ("bn_data",)),
    "gender and age that subtracts": ([SMALL], [(1, 3)], ("Sub",)),
    "other attributes": ([SMALL], [(1, 5)], ()),
    "face swapper": ([(1, 3, 128, 128), VECTOR], [(1, 3, 128, 128)], ()),
}


def by_insightface(path: Path):
    """Task, mean and standard deviation; None where insightface finds no task for us."""
    from insightface import model_zoo

    model = model_zoo.get_model(str(path), providers=["CPUExecutionProvider"])
    if model is None or not hasattr(model, "taskname") or model.taskname == "inswapper":
        return None
    return model.taskname, model.input_mean, model.input_std


def by_us(path: Path):
    model = classify(path, read_graph_header(path))
    return model and (model.task, model.mean, model.std)


@pytest.mark.parametrize("weights_as_inputs", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_agrees_with_insightface(name, weights_as_inputs, write_onnx, tmp_path):
    pytest.importorskip("insightface")
    path = write_onnx(tmp_path / "m.onnx", *GRAPHS[name], weights_as_inputs=weights_as_inputs)
    assert by_us(path) == by_insightface(path)


@pytest.mark.parametrize("name", ["mobilefacenet.onnx", "scrfd_2.5g_bnkps.onnx"])
def test_agrees_with_insightface_on_released_files(name, test_data):
    pytest.importorskip("insightface")
    path = test_data / "models" / name
    found = by_us(path)
    assert found is not None
    assert found == by_insightface(path)


def header(inputs: Sequence[Sequence[int | None]], outputs: Sequence[Sequence[int | None]]):
    return GraphHeader(
        tuple(TensorInfo("in", "float32", tuple(shape)) for shape in inputs),
        tuple(TensorInfo("out", "float32", tuple(shape)) for shape in outputs),
        (),
        (),
        1,
        11,
    )


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([()], [VECTOR]),
        ([(1, 512)], [VECTOR] * 9),
        ([(1, 3, None, None)], [VECTOR]),
        ([CROP], [VECTOR, VECTOR]),
        ([MESH], [(1, None)]),
        ([MESH], [()]),
        ([SMALL], [(3,)]),
    ],
)
def test_refuses_what_stops_insightface_with_an_error(inputs, outputs):
    assert task_of(header(inputs, outputs)) is None


@pytest.mark.parametrize(
    ("op_types", "scaling"),
    [
        (("Sub", "Mul", "Conv"), (0.0, 1.0)),
        (("Constant", "Sub", "Constant", "Mul", "Conv"), (0.0, 1.0)),
        (("Conv", "Sub", "Mul"), (127.5, 127.5)),
    ],
)
def test_a_graph_that_scales_first_gets_pixels(op_types, scaling, tmp_path):
    """SFace's nodes have no names that say it."""
    graph = replace(
        header([CROP], [(1, 128)]), op_types=op_types, node_names=("n",) * len(op_types)
    )
    model = classify(tmp_path / "sface.onnx", graph)
    assert model is not None and (model.task, model.mean, model.std) == ("recognition", *scaling)


def test_describes_the_file(write_onnx, tmp_path):
    path = write_onnx(tmp_path / "det.onnx", [ANY_SIZE], [(None, 1)] * 6)
    model = classify(path, read_graph_header(path))
    assert model is not None
    assert model.path == path
    assert model.task in TASK_ORDER
    assert model.input_shape == (1, 3, None, None)
    assert model.input_dtype == "float32"
    assert model.output_shapes == ((None, 1),) * 6
    assert model.sha256 is None

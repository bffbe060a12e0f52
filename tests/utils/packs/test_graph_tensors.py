"""Sizes that tensors claim, against the bytes that are there for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastface.utils.errors import ModelError
from fastface.utils.packs.graph_header import read_graph_header

from .conftest import WriteOnnx

Change = Callable[[Any], None]


def _dims(*dims: int) -> Change:
    def change(tensor: Any) -> None:
        del tensor.dims[:]
        tensor.dims.extend(dims)

    return change


def _cut(tensor: Any) -> None:
    tensor.raw_data = tensor.raw_data[:-1]


def _as_double(tensor: Any) -> None:
    tensor.data_type = TensorProto.DOUBLE


def _no_data(tensor: Any) -> None:
    tensor.ClearField("raw_data")


def _few_floats(tensor: Any) -> None:
    _dims(1000, 1000)(tensor)
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0] * 8)


def _outside(**entries: str) -> Change:
    def change(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "weights.data", **entries}.items():
            tensor.external_data.add(key=key, value=value)

    return change


WRONG = {
    "294 TiB": _dims(1 << 23, 1 << 23),
    "more than there are bytes in the world": _dims(1 << 62, 1 << 62),
    "negative": _dims(-1, 512),
    "one byte less": _cut,
    "another type": _as_double,
    "no data": _no_data,
    "few numbers": _few_floats,
    "cut external data": _outside(offset="4000", length="2048"),
    "external data behind the end": _outside(offset="9999999999"),
    "a negative offset": _outside(offset="-1"),
    "an offset in words": _outside(offset="none"),
    "too short a piece": _outside(length="16"),
    "no external file": _outside(location="nowhere.data"),
    "a name that no file can have": _outside(location="a\0b"),
}


@pytest.fixture
def model(tmp_path: Path, write_onnx: WriteOnnx) -> Any:
    """A network with a weight of `[1,512]` float32, and a file beside it that could hold it."""
    (tmp_path / "weights.data").write_bytes(b"\0" * 4096)
    return onnx.load(write_onnx(tmp_path / "net.onnx"))


def weight_of(model: Any) -> Any:
    return next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)


def read(model: Any, folder: Path) -> None:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    read_graph_header(path)


def test_sound_ones_are_read(model: Any, tmp_path: Path):
    read(model, tmp_path)
    _outside(offset="1024", length="2048")(weight_of(model))
    read(model, tmp_path)
    weight_of(model).ClearField("external_data")
    _outside(offset="2048")(weight_of(model))
    read(model, tmp_path)


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_ones_are_refused(wrong: str, model: Any, tmp_path: Path):
    WRONG[wrong](weight_of(model))
    with pytest.raises(ModelError, match=r"net\.onnx .*(tensor 'weight0'|negative size)"):
        read(model, tmp_path)


def test_constants_and_branches_are_held_to_it_too(model: Any, tmp_path: Path):
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "inner")
    _dims(1 << 40)(tensor)
    branch = helper.make_graph([], "branch", [], [], [tensor])
    node = helper.make_node("If", ["data0"], ["unused"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    with pytest.raises(ModelError, match="tensor 'inner' claims"):
        read(model, tmp_path)
    del model.graph.node[-1]
    model.graph.node.append(helper.make_node("Constant", [], ["constant"], value=tensor))
    with pytest.raises(ModelError, match="tensor 'inner' claims"):
        read(model, tmp_path)


def test_a_sparse_tensor_of_terabytes(model: Any, tmp_path: Path):
    sparse = model.graph.sparse_initializer.add(dims=[1 << 20, 1 << 20])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), ""))
    with pytest.raises(ModelError, match="a sparse tensor of shape"):
        read(model, tmp_path)


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "float64", "int8", "uint8", "int64", "bool", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (3, 5), (0, 7)])
def test_every_type_in_every_form(dtype: str, shape: tuple[int, ...], model: Any, tmp_path: Path):
    value = np.ones(shape, dtype)
    model.graph.initializer.append(numpy_helper.from_array(value, "raw"))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.initializer.append(helper.make_tensor("typed", kind, shape, value.ravel()))
    read(model, tmp_path)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.BFLOAT16])
def test_types_smaller_than_numpys(kind: int, model: Any, tmp_path: Path):
    model.graph.initializer.append(helper.make_tensor("typed", kind, (3,), [1, 0, 1]))
    read(model, tmp_path)

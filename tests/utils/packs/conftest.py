"""Makes small ONNX files of any shape that run for real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastface.utils.packs import file_state

Shape = Sequence[int | str | None]
WriteOnnx = Callable[..., Path]


@pytest.fixture(scope="session")
def write_onnx() -> WriteOnnx:
    """Function that writes an ONNX file and returns its path.

    The graph weighs the mean of its inputs with random weights for each output. `inputs` and
    `outputs` are shapes, with None or a name for an open axis; `node_names` name its first nodes;
    `weights_as_inputs` lists the weights among the inputs, as old exporters do.
    """

    def write(
        path: Path,
        inputs: Sequence[Shape] = ((1, 3, 112, 112),),
        outputs: Sequence[Shape] = ((1, 512),),
        node_names: Sequence[str] = (),
        *,
        weights_as_inputs: bool = False,
        dtype: int = TensorProto.FLOAT,
    ) -> Path:
        random = np.random.default_rng(0)
        feeds = [
            helper.make_tensor_value_info(f"data{index}", dtype, shape)
            for index, shape in enumerate(inputs)
        ]
        nodes, weights, means = (
            [],
            [numpy_helper.from_array(np.array([1.0], np.float32), "one")],
            [],
        )
        for index in range(len(feeds)):
            nodes.append(helper.make_node("Cast", [f"data{index}"], [f"float{index}"], to=1))
            nodes.append(
                helper.make_node("ReduceMean", [f"float{index}"], [f"mean{index}"], keepdims=0)
            )
            means.append(f"mean{index}")
        nodes.append(helper.make_node("Sum", means, ["step0"]))
        last = len(nodes) - 1 + len(node_names)
        while len(nodes) <= last:
            step = f"step{len(nodes)}"
            nodes.append(helper.make_node("Mul", [nodes[-1].output[0], "one"], [step]))
        mean = nodes[-1].output[0]
        results = []
        for index, shape in enumerate(outputs):
            sizes = [size if isinstance(size, int) else 1 for size in shape]
            weight = random.standard_normal(sizes).astype(np.float32)
            weights.append(numpy_helper.from_array(weight, f"weight{index}"))
            nodes.append(helper.make_node("Mul", [mean, f"weight{index}"], [f"out{index}"]))
            results.append(helper.make_tensor_value_info(f"out{index}", TensorProto.FLOAT, shape))
        for index, node in enumerate(nodes):
            node.name = node_names[index] if index < len(node_names) else f"n{index}"
        if weights_as_inputs:
            feeds += [
                helper.make_tensor_value_info(weight.name, TensorProto.FLOAT, weight.dims)
                for weight in weights
            ]
        graph = helper.make_graph(nodes, "graph", feeds, results, weights)
        opset = helper.make_opsetid("", 13)
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[opset]), path)
        return path

    return write


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old as soon as they are written: what was read of them is remembered."""
    monkeypatch.setattr(file_state, "_CLOCK_STEP_NS", 0)


@pytest.fixture
def link() -> Callable[[Path, Path], None]:
    """Function that makes a symbolic link to a folder; skips where the account may not."""

    def make(path: Path, target: Path) -> None:
        try:
            path.symlink_to(target, target_is_directory=target.is_dir())
        except OSError as error:
            pytest.skip(f"this account can't make symbolic links: {error}")

    return make

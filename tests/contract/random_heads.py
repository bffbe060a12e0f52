"""Small graphs with random weights and the inputs and outputs of InsightFace's released heads.

What they compute means nothing, but it depends on every part of the crop, so it shows whether two
programs cut out, normalise and read back alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: Values a face of each file of antelopev2 that has no stand-in among the test data, input side.
_HEADS = {"1k3d68": (3309, 192), "2d106det": (212, 192), "genderage": (3, 96)}
#: The released graphs subtract and scale in their first nodes, by these names; a reader that
#: overlooks it normalises twice.
_FIRST_NODES = {"1k3d68": "bn_data", "2d106det": "_minusscalar0", "genderage": None}
_CHANNELS, _GRID = 8, 4


def write_random_heads(folder: Path) -> None:
    """Writes `1k3d68.onnx`, `2d106det.onnx` and `genderage.onnx`, the same in every run."""
    for number, (name, (values, side)) in enumerate(_HEADS.items()):
        _write_head(folder / f"{name}.onnx", values, side, seed=number)


def _write_head(path: Path, values: int, side: int, seed: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    features = _CHANNELS * _GRID * _GRID
    pool = side // 8 // _GRID
    weights = {
        "kernels": random.normal(0, 0.1, (_CHANNELS, 3, 8, 8)),
        "matrix": random.normal(0, 0.1, (values, features)),
        "shift": _resting_place(values),
    }
    first = _first_nodes(_FIRST_NODES[path.stem], weights)
    nodes = [
        *first,
        helper.make_node("Conv", [first[-1].output[0] if first else "data", "kernels"], ["seen"],
                         strides=[8, 8]),
        helper.make_node("Relu", ["seen"], ["lit"]),
        helper.make_node("AveragePool", ["lit"], ["cells"], kernel_shape=[pool, pool],
                         strides=[pool, pool]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "shift"], ["fc1"], transB=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["None", 3, side, side])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, values])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _first_nodes(name: str | None, weights: dict[str, np.ndarray]) -> list:
    """The nodes that bring pixels 0..255 to about -1..1, named as in the released graphs."""
    from onnx import helper

    if name is None:
        return []
    if name == "bn_data":
        weights.update(
            gain=np.ones(3),
            offset=np.zeros(3),
            mean=np.full(3, 127.5),
            variance=np.full(3, 128.0**2),
        )
        inputs = ["data", "gain", "offset", "mean", "variance"]
        return [helper.make_node("BatchNormalization", inputs, ["centred"], name=name)]
    weights.update(mean=np.array(127.5), scale=np.array(1 / 128.0))
    return [
        helper.make_node("Sub", ["data", "mean"], ["shifted"], name=name),
        helper.make_node("Mul", ["shifted", "scale"], ["centred"], name="_mulscalar0"),
    ]


def _resting_place(values: int) -> np.ndarray:
    """What a head says before it looks: a face of the right form, a woman of 40."""
    if values == 3:
        return np.array([0.05, 0.0, 0.4])
    if values == 212:
        angles = np.linspace(0, 2 * np.pi, 106, endpoint=False)
        return np.stack((np.cos(angles), np.sin(angles)), 1).ravel() / 2
    from insightface.data import get_object

    mesh = np.zeros((1103, 3))
    mesh[-68:] = get_object("meanshape_68.pkl")
    return mesh.ravel()

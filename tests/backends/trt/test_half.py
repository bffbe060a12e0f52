"""Graphs in half precision, run in ONNX Runtime and held against those in single precision."""

from __future__ import annotations

import logging
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from fastface.backends.onnx_graphs.batched import batched_graph
from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.trt.half import half_graph, nodes_to_keep
from fastface.benchmark.synthetic_models.detectors import SCRFD_500M, scrfd
from fastface.benchmark.synthetic_models.heads import gender_age
from fastface.benchmark.synthetic_models.recognizers import mobile_face_net
from fastface.utils.errors import BackendUnavailable
from fastface.utils.packs.read import read_pack
from tests.backends.onnx_graphs.small_graphs import in_onnxruntime, model_of

pytest.importorskip("onnxruntime")

GRAPHS = {
    "detection": lambda: scrfd(SCRFD_500M),
    "genderage": gender_age,
    "recognition": lambda: mobile_face_net("net", "516"),
}
SIZES = {"detection": (64, 64), "genderage": (96, 96), "recognition": (112, 112)}


@pytest.fixture(scope="module", params=GRAPHS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("half") / f"{request.param}.onnx"
    onnx.save(GRAPHS[request.param](), str(path))
    converted, kept = half_graph(path)
    return request.param, onnx.load(str(path)), converted, kept


def types_of(model: Any) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}


def run_as_written(model: Any, images: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's answers node by node: its own fusions round weights of half precision."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=providers)
    outputs = session.run(None, {session.get_inputs()[0].name: images})
    return [np.asarray(output) for output in outputs]


def test_answers_are_as_close_as_those_of_half_precision_in_torch(both: Any):
    task, single, half, _ = both
    network = Network(graph_of(single, task)).eval().half()
    images = np.random.default_rng(0).uniform(-1, 1, (1, 3, *SIZES[task]))
    images = (((images + 1) * 127).round() if task == "genderage" else images).astype("f4")
    with torch.inference_mode():
        in_torch = [each.float().numpy() for each in network(torch.from_numpy(images).half())]
    answers = (run_as_written(single, images), run_as_written(half, images), in_torch)
    for want, got, other in zip(*answers, strict=True):
        assert got.dtype == np.float32 and got.shape == want.shape
        assert 0 < np.abs(got - want).max() <= 2 * np.abs(other - want).max()


def test_weights_take_half_the_room(both: Any):
    _, single, half, kept = both
    sizes = [sum(len(t.raw_data) for t in model.graph.initializer) for model in (single, half)]
    assert kept and sizes[1] < 0.75 * sizes[0]
    assert half.ByteSize() < 0.8 * single.ByteSize()


def test_what_is_kept_computes_in_single_precision_and_the_rest_does_not(both: Any):
    _, _, half, kept = both
    types = types_of(half)
    layers = [node for node in half.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    for node in layers:
        expected = TensorProto.FLOAT if node.name in kept else TensorProto.FLOAT16
        assert {types[name] for name in (*node.input, *node.output) if name} == {expected}, node
    assert {node.name for node in layers} & set(kept)
    assert {node.name for node in layers} - set(kept)


def test_no_value_goes_to_half_precision_and_back(both: Any):
    _, _, half, _ = both
    makers = {output: node for node in half.graph.node for output in node.output}
    for node in half.graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "Cast" else None
        assert maker is None or maker.op_type != "Cast", node.name
    outputs = [name for node in half.graph.node for name in node.output]
    assert len(outputs) == len(set(outputs))
    onnx.checker.check_model(in_order(half))


def in_order(model: Any) -> Any:
    """The same nodes, each behind those it reads: the checker asks for that, and engines do not."""
    ordered = onnx.ModelProto()
    ordered.CopyFrom(model)
    waiting, ready = list(model.graph.node), {t.name for t in model.graph.initializer} | {""}
    ready |= {value.name for value in model.graph.input}
    del ordered.graph.node[:]
    while waiting:
        node = next(node for node in waiting if ready.issuperset(node.input))
        waiting.remove(node)
        ready.update(node.output)
        ordered.graph.node.append(node)
    return ordered


class TestWhatIsKept:
    def model(self, **constants: Any) -> Any:
        values = {
            "half": np.float32(0.5),
            "w1": np.full((2, 3, 1, 1), 0.1, np.float32),
            "w2": np.full((2, 2, 1, 1), 0.1, np.float32),
            "w3": np.full((2, 2, 1, 1), 0.1, np.float32),
            "gain": np.ones(2, np.float32),
            "shift": np.zeros(2, np.float32),
            "mean": np.full(2, 1e-6, np.float32),
            "variance": np.ones(2, np.float32),
        } | constants
        steps = [
            ("Mul", ["image", "half"], "prepare"),
            ("Conv", ["prepare", "w1"], "first"),
            ("BatchNormalization", ["first", "gain", "shift", "mean", "variance"], "norm"),
            ("Conv", ["norm", "w2"], "middle"),
            ("Relu", ["middle"], "relu"),
            ("Conv", ["relu", "w3"], "last"),
            ("Sigmoid", ["last"], "score"),
        ]
        nodes = [helper.make_node(op, ins, [out], name=out) for op, ins, out in steps]
        model = model_of(nodes, values, [1, 3, 4, 4], ["score"], [[1, 2, 4, 4]], 11)
        return model

    def test_what_prepares_the_image_and_what_makes_the_answer(self):
        assert nodes_to_keep(self.model()) == ("prepare", "last", "score")

    def test_a_weight_that_is_too_large(self):
        weight = np.full((2, 2, 1, 1), 70000.0, np.float32)
        assert "middle" in nodes_to_keep(self.model(w2=weight))

    def test_a_divisor_that_is_too_small(self):
        assert "norm" in nodes_to_keep(self.model(variance=np.array([1, 1e-7], np.float32)))
        assert "norm" not in nodes_to_keep(self.model(gain=np.array([1, 1e-7], np.float32)))

    def test_nodes_without_a_name_get_one(self, tmp_path: Path):
        model = self.model()
        for node in model.graph.node:
            node.name = "" if node.name != "score" else "Mul_0"
        onnx.save(model, str(tmp_path / "a.onnx"))
        assert half_graph(tmp_path / "a.onnx")[1] == ("Mul_0_unnamed", "Conv_5", "Mul_0")


def test_nothing_of_the_converter_is_left_where_others_look(tmp_path: Path, caplog):
    onnx.save(gender_age(), str(tmp_path / "a.onnx"))
    before = list(sys.path)
    with caplog.at_level(logging.INFO):
        half_graph(tmp_path / "a.onnx")
    assert sys.path == before
    assert not [record for record in caplog.records if "onnxruntime" in record.name]


def test_without_the_converter_the_remedy_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.transformers.float16", None)
    with pytest.raises(BackendUnavailable, match=r"fp16 needs the converter.*install onnxruntime"):
        half_graph(tmp_path / "a.onnx")


def test_real_embeddings_keep_their_direction(test_data: Path):
    cv2 = pytest.importorskip("cv2")
    model = read_pack("models", test_data / "models").model("recognition")
    path = batched_graph(model).path
    half, _ = half_graph(path)
    coded = pickle.loads((test_data / "images" / "lfw_10_pairs.bin").read_bytes(), encoding="bytes")
    crops = np.stack([cv2.imdecode(np.frombuffer(c, np.uint8), 1) for c in coded[0]])
    images = (crops[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
    (want,), (got,) = in_onnxruntime(onnx.load(str(path)), images), in_onnxruntime(half, images)
    lengths = np.linalg.norm(want, axis=1) * np.linalg.norm(got, axis=1)
    assert ((want * got).sum(1) / lengths).min() > 0.9999

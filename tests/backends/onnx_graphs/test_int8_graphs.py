"""Int8 graphs are made of recorded inputs, kept with the content they were made of, and opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs import graph_cache, int8_graphs
from fastface.backends.onnx_graphs.int8_graphs import (
    Int8Recipe,
    graph_sources,
    make_int8_graphs,
    opened_graphs,
)
from fastface.backends.onnx_graphs.margin_graphs import margin_graphs_of
from fastface.backends.onnx_graphs.margin_points import plan_of
from fastface.backends.onnx_graphs.margin_rewrite import refills
from fastface.backends.onnx_graphs.quantiser import GraphInputs, Quantiser, Recording
from fastface.backends.onnxruntime import OnnxRuntimeBackend
from fastface.backends.openvino import OpenVinoBackend
from fastface.backends.placement import Placement
from fastface.benchmark.synthetic_models.detectors import SCRFD_500M, scrfd
from fastface.utils import cores
from fastface.utils.errors import BackendUnavailable, ModelError, OutOfMemory
from fastface.utils.letterbox import Canvas
from fastface.utils.packs import ModelFile
from fastface.utils.packs.read import read_pack

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("cache")

RECIPE = Int8Recipe("pictures")
SIZE = 96


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    onnx.save(scrfd(SCRFD_500M), tmp_path / "detector.onnx")
    return read_pack("pack", tmp_path).model("detection")


@pytest.fixture
def with_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    features = cores.cpu_features() | {"avx512_vnni"}
    monkeypatch.setattr(cores, "cpu_features", lambda: features)


def recorded(model: ModelFile) -> Mapping[Path, Recording]:
    """Noise, and what an empty canvas's features are where margins are skipped."""
    sources = graph_sources(model)
    random = np.random.default_rng(0)
    noise = [random.uniform(-1, 1, (1, 3, SIZE, SIZE)).astype(np.float32) for _ in range(3)]
    whole: list[GraphInputs] = [(image,) for image in noise]
    recordings = {sources["whole"]: Recording(whole)}
    margins = margin_graphs_of(sources["whole"], model)
    assert margins is not None
    features = ort.InferenceSession(margins.empty, providers=["CPUExecutionProvider"])
    empty = features.run(None, {"input.1": np.full_like(noise[0], model.black)})
    for part, filled_hw in (("rows", (16, SIZE)), ("columns", (SIZE, 16))):
        plan = plan_of(margins.points, Canvas(filled_hw, filled_hw, (SIZE, SIZE)))
        assert plan is not None
        given = [each.numpy() for each in refills(plan, [torch.from_numpy(f) for f in empty], 1)]
        parts = [np.take(image, range(plan.pixels), plan.axis) for image in noise]
        recordings[sources[part]] = Recording([(image, *given) for image in parts])
    return recordings


def quantised_layers(path: Path) -> set[str]:
    """Names of the weights that are int8 in a graph."""
    graph = onnx.load(path).graph
    ints = {tensor.name for tensor in graph.initializer if tensor.data_type == 3}
    return {name.removesuffix("_quantized") for name in ints}


def test_each_part_is_quantised_but_for_what_stands_around_the_outputs(model: ModelFile):
    make_int8_graphs(model, RECIPE, recorded(model))
    made = int8_graphs.int8_graphs(model, str(RECIPE))
    sources = graph_sources(model)
    assert made is not None and set(made) == set(sources.values())
    whole = onnx.load(sources["whole"]).graph
    last = {node.input[1] for node in whole.node if node.op_type == "Conv"}
    inner = quantised_layers(made[sources["whole"]])
    assert inner and len(last - inner) >= 9  # scores, boxes and landmarks at three strides
    # Where margins are skipped, the same layers.
    for part in ("rows", "columns"):
        assert quantised_layers(made[sources[part]]) == inner


def test_the_last_layers_stay_exact_where_the_recipe_says_so(model: ModelFile):
    inputs = recorded(model)
    sources = graph_sources(model)
    counts = []
    for share in (0.0, 0.25, 0.5):
        recipe = Int8Recipe("pictures", share)
        make_int8_graphs(model, recipe, inputs)
        made = int8_graphs.int8_graphs(model, str(recipe))
        assert made is not None
        inner = quantised_layers(made[sources["whole"]])
        for part in ("rows", "columns"):
            assert quantised_layers(made[sources[part]]) == inner
        counts.append(len(inner))
    assert counts[0] > counts[1] > counts[2] > 0


def test_ranges_are_wider_than_what_was_recorded(model: ModelFile):
    inputs = recorded(model)
    make_int8_graphs(model, RECIPE, inputs)
    made = int8_graphs.int8_graphs(model, str(RECIPE))
    source = graph_sources(model)["whole"]
    assert made is not None
    graph = onnx.load(made[source]).graph
    numbers = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    whole = onnx.load(source)
    known = {name for node in whole.graph.node for name in node.output}
    steps = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    steps = [node for node in steps if node.input[0] in known]
    whole.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n.input[0]) for n in steps)
    session = ort.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    assert len(steps) > 20
    for node in steps:
        seen = [
            session.run([node.input[0]], {"input.1": each})[0] for (each,) in inputs[source].inputs
        ]
        low, high = min(0.0, *map(np.min, seen)), max(0.0, *map(np.max, seen))
        span = 255 * float(numbers[node.input[1]])
        assert span == pytest.approx(1.2 * (high - low), rel=0.02)


def test_a_recipe_leaves_the_ranges_as_they_were_worked_out(model: ModelFile, monkeypatch):
    work_out, made = Quantiser._ranges, []

    def remembered(self: Quantiser, *given: Any) -> Any:
        ranges = work_out(self, *given)
        made.append((ranges, {name: data.range_value for name, data in ranges.items()}))
        return ranges

    monkeypatch.setattr(Quantiser, "_ranges", remembered)
    recordings = recorded(model)
    for share in (0.0, 0.5):
        make_int8_graphs(model, Int8Recipe("pictures", share), recordings)
    assert len(made) == len(recordings) == 3
    for ranges, as_they_were in made:
        assert {name: data.range_value for name, data in ranges.items()} == as_they_were


def test_what_moves_values_between_quantised_layers_moves_int8(model: ModelFile):
    make_int8_graphs(model, RECIPE, recorded(model))
    made = int8_graphs.int8_graphs(model, str(RECIPE))
    assert made is not None
    graph = onnx.load(made[graph_sources(model)["rows"]]).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    joins = [node for node in graph.node if node.name.endswith((":kept", ":refilled"))]
    assert joins
    assert {makers[node.input[0]] for node in joins} == {"DequantizeLinear"}


@pytest.mark.parametrize("kind", [OnnxRuntimeBackend, OpenVinoBackend])
def test_sessions_run_them(kind: Any, model: ModelFile, with_instructions: None):
    backend = kind()
    if backend.why_unavailable():
        pytest.skip(backend.why_unavailable())
    make_int8_graphs(model, RECIPE, recorded(model))
    placement = Placement("cpu", "int8", True, (("detection", "int8", str(RECIPE)),))
    exact = backend.open_session(model, Placement())
    cheap = backend.open_session(model, placement)
    assert "int8" in str(cheap.runs_on) and "int8" not in str(exact.runs_on)
    x = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    for want, got in zip(exact.run(x), cheap.run(x), strict=True):
        assert want.shape == got.shape and not torch.equal(want, got)
        # Processors without the instructions add in 16 bits, which overflow here and there.
        assert torch.cosine_similarity(want.flatten(), got.flatten(), 0) > 0.9


def test_without_them_it_runs_exactly_and_says_so(model: ModelFile, with_instructions: None):
    placement = Placement("cpu", "int8", False, (("detection", "int8", str(RECIPE)),))
    session = OnnxRuntimeBackend().open_session(model, placement)
    assert "int8" not in session.runs_on.provider
    assert "run it again" in session.runs_on.note
    with pytest.raises(BackendUnavailable, match="has no int8 graphs"):
        strict = Placement("cpu", "int8", True, (("detection", "int8", str(RECIPE)),))
        OnnxRuntimeBackend().open_session(model, strict)


def test_they_belong_to_the_content_of_the_file(model: ModelFile):
    make_int8_graphs(model, RECIPE, recorded(model))
    graph = onnx.load(model.path)
    weight = next(tensor for tensor in graph.graph.initializer if len(tensor.dims) == 4)
    other = onnx.numpy_helper.to_array(weight) * 1.5
    weight.CopyFrom(onnx.numpy_helper.from_array(other, weight.name))
    onnx.save(graph, model.path)
    replaced = read_pack("pack", model.path.parent).model("detection")
    assert int8_graphs.int8_graphs(replaced, str(RECIPE)) is None


def test_one_with_other_bytes_is_not_used(model: ModelFile, cache: Path, monkeypatch):
    make_int8_graphs(model, RECIPE, recorded(model))
    made = int8_graphs.int8_graphs(model, str(RECIPE))
    assert made is not None
    path = made[graph_sources(model)["whole"]]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    monkeypatch.setattr(graph_cache, "_caches", {})
    assert int8_graphs.int8_graphs(model, str(RECIPE)) is None
    placement = Placement("cpu", "int8", False, (("detection", "int8", str(RECIPE)),))
    assert opened_graphs(model, placement).precision == "fp32"


def test_other_inputs_than_float32_are_refused(model: ModelFile):
    half = ModelFile(**{**vars(model), "input_dtype": "float16"})
    with pytest.raises(ModelError, match="takes float16"):
        make_int8_graphs(half, RECIPE, {})


def test_without_memory_for_it_nothing_is_quantised(model: ModelFile, monkeypatch):
    monkeypatch.setattr(int8_graphs, "free_ram", lambda: 1000)
    with pytest.raises(OutOfMemory, match="quantising takes about"):
        make_int8_graphs(model, RECIPE, {})


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend(), OpenVinoBackend()])
def test_processors_without_the_instructions_are_offered_fp32_alone(backend, monkeypatch):
    if backend.why_unavailable():
        pytest.skip(backend.why_unavailable())
    monkeypatch.setattr(cores, "cpu_features", lambda: frozenset({"avx2"}))
    assert backend.precisions("cpu") == ("fp32",)
    assert backend.proven_precisions("cpu") == ()
    assert "no instructions for int8 (avx512_vnni" in backend.why_not_offered("int8", "cpu")


@pytest.mark.parametrize("precision", ["fast", "fp8"])
def test_what_is_no_precision_of_a_network_is_refused_by_name(model: ModelFile, precision: str):
    pack = read_pack("pack", model.path.parent)
    with pytest.raises(BackendUnavailable, match=f"got precision '{precision}', offered: fp32"):
        OnnxRuntimeBackend().open(pack, "detection", Placement("cpu", precision))


def test_the_runtime_has_nothing_to_warn_of(model: ModelFile, capfd):
    graph = onnx.load(model.path)
    unused = onnx.numpy_helper.from_array(np.ones(3, np.float32), "unused")
    graph.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["idle"], value=unused))
    graph.graph.initializer.append(unused)
    # As old graphs have them: a constant is an input too.
    graph.graph.input.append(onnx.helper.make_tensor_value_info("unused", 1, [3]))
    onnx.save(graph, model.path)
    again = read_pack("pack", model.path.parent).model("detection")
    inputs = recorded(again)
    capfd.readouterr()
    make_int8_graphs(again, RECIPE, inputs)
    assert capfd.readouterr().err == ""

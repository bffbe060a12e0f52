"""Whatever goes wrong with somebody else's graph names its file, on every backend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.onnx_graphs.foreign import foreign_graph
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError, OutOfMemory
from fastface.utils.packs.read import read_pack

onnx = pytest.importorskip("onnx")

from tests.backends.onnx_graphs.small_graphs import detector, embedder  # noqa: E402

IMAGE = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)


class Interrupted(Exception):
    """Stands in for ComfyUI's InterruptProcessingException, an Exception in old versions."""


class TestBoundary:
    @pytest.mark.parametrize(
        "error",
        [
            KeyError("conv1"),
            AssertionError(),
            StopIteration(),
            IndexError("tuple index out of range"),
            ValueError("cannot reshape array of size 16 into shape (4,1,1)"),
            onnx.checker.ValidationError("Data of TensorProto should be stored elsewhere"),
            RecursionError("maximum recursion depth exceeded"),
            OSError("it vanished"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_errors_of_libraries_name_the_file_and_what_to_do(self, error: Exception):
        with (
            pytest.raises(ModelError, match=r"face\.onnx can't be read .*download") as raised,
            foreign_graph(Path("face.onnx"), "read"),
        ):
            raise error
        assert raised.value.__cause__ is error
        assert type(error).__name__ in str(raised.value)

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError("Unable to allocate 294. TiB for an array"),
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
            ),
            torch.OutOfMemoryError("CUDA out of memory"),
        ],
        ids=["numpy", "torch", "card"],
    )
    def test_too_little_memory_is_no_fault_of_the_file(self, error: Exception):
        with pytest.raises(OutOfMemory, match="want of memory"), foreign_graph("face.onnx"):
            raise error

    def test_a_card_that_fails_is_no_fault_of_the_file(self):
        with pytest.raises(BackendUnavailable, match="choose device cpu"), foreign_graph("f.onnx"):
            raise RuntimeError("CUDA error: device-side assert triggered")

    @pytest.mark.parametrize(
        "error", [InvalidInput("x"), OutOfMemory("x"), KeyboardInterrupt(), ImportError("onnx")]
    )
    def test_what_has_a_name_passes(self, error: BaseException):
        with pytest.raises(type(error)) as raised, foreign_graph("face.onnx"):
            raise error
        assert raised.value is error

    def test_comfyuis_interruption_passes(self, monkeypatch: pytest.MonkeyPatch):
        management = SimpleNamespace(InterruptProcessingException=Interrupted)
        monkeypatch.setitem(sys.modules, "comfy.model_management", management)
        with pytest.raises(Interrupted), foreign_graph("face.onnx"):
            raise Interrupted

    def test_a_long_complaint_is_cut(self):
        with pytest.raises(ModelError) as raised, foreign_graph("face.onnx"):
            raise ValueError("a\n" * 100_000)
        assert len(str(raised.value)) < 1000


def _no_such_input(model: Any) -> None:
    model.graph.node[-1].input[0] = "nowhere"


def _three_strides(model: Any) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    next(each for each in conv.attribute if each.name == "strides").ints.append(2)


def _wrong_weight(model: Any) -> None:
    weight = next(each for each in model.graph.initializer if len(each.dims) == 4)
    weight.dims[1] = 5


def _negative_shape(model: Any) -> None:
    target = next(each for each in model.graph.initializer if each.data_type == 7)
    target.raw_data = np.full(int(target.dims[0]), -2, np.int64).tobytes()


def _no_opset(model: Any) -> None:
    del model.opset_import[:]


def _empty_constant(model: Any) -> None:
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["nothing"]))


def _no_results(model: Any) -> None:
    del model.graph.node[0].output[:]


def _odd_type(model: Any) -> None:
    model.graph.initializer[0].data_type = 999


FAULTS: list[Callable[[Any], None]] = [
    _no_such_input, _three_strides, _wrong_weight, _negative_shape, _no_opset, _empty_constant,
    _no_results, _odd_type,
]  # fmt: skip


def pack_with(folder: Path, fault: Callable[[Any], None] | None, at: str) -> Path:
    """A pack of a detector and a recogniser, one of them damaged."""
    models = {"detector": detector(), "recogniser": embedder("reshape_baked")}
    if fault is not None:
        fault(models[at])
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    return folder


def use(folder: Path, backend_name: str) -> list[Any]:
    """Loads a pack, detects, and reads embeddings."""
    backend = get_backend(backend_name)
    if reason := backend.why_unavailable():
        pytest.skip(reason)
    pack = read_pack("pack", folder)
    for task in ("detection", "recognition"):
        pack.model(task)  # one that is damaged beyond reading is no part of it
    app = FaceAnalysis(
        Analyzer(pack, backend, Placement()), DetectionOptions(((96, 64),), 1e-3), max_faces=2
    )
    return [face.embedding for face in app.get(IMAGE)]


BACKENDS = ("onnxruntime", "torch", "openvino", "insightface")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
class TestEveryBackend:
    def test_a_sound_pack_runs(self, backend: str, tmp_path: Path, cache: Path):
        embeddings = use(pack_with(tmp_path, None, ""), backend)
        assert len(embeddings) == 2 and embeddings[0].shape == (16,)

    @pytest.mark.parametrize("at", ["detector", "recogniser"])
    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
    def test_a_damaged_one_says_which_file(
        self, backend: str, fault: Callable[[Any], None], at: str, tmp_path: Path, cache: Path
    ):
        folder = pack_with(tmp_path, fault, at)
        try:
            embeddings = use(folder, backend)
        except ModelError as error:
            # insightface opens all files of a folder together.
            assert f"{at}.onnx" in str(error) or backend == "insightface"
        else:
            # Some engines make do with some of them.
            assert all(each.shape == (16,) for each in embeddings)


def test_openvino_is_not_given_what_nothing_else_can_run(tmp_path: Path, cache: Path):
    """It reads beside its memory where the numbers of a reshape don't add up."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")

    def more_anchors_than_there_are(model: Any) -> None:
        targets = {each.name: each for each in model.graph.initializer}
        targets["target_1"].raw_data = np.array([4096, 4], np.int64).tobytes()

    folder = pack_with(tmp_path, more_anchors_than_there_are, "detector")
    with pytest.raises(ModelError, match=r"(?s)detector\.onnx is refused: .* or choose backend"):
        use(folder, "openvino")

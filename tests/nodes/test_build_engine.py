"""The node that builds engines, for real where tensorrt_rtx is, and what it says where not."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from fastface.backends import tensorrt
from fastface.backends.trt.engines import EngineStore
from fastface.backends.trt.profile import Profile
from fastface.nodes import build_engine
from fastface.nodes.build_engine import FastFaceBuildEngine
from fastface.pipeline import engine_building
from fastface.utils import host
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError
from tests.backends.trt.on_stub import GEFORCE, put_in_place, small_pack
from tests.backends.trt.stub import TENSORRT_11, StubModule

pytest.importorskip("onnxruntime")

SMALL = {"best_batch": 2, "max_batch": 4, "min_size": 64, "best_size": 96, "max_size": 160}


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack `small`, and folders of the test's own."""
    pytest.importorskip("onnx")
    small_pack(tmp_path / "roots" / "small")
    monkeypatch.setenv("FASTFACE_MODELS", str(tmp_path / "roots"))
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")


def test_it_builds_with_progress_and_says_what_and_why(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx, which needs no GPU, is not installed")
    monkeypatch.setattr(engine_building, "card_here", lambda index=0: None)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(build_engine, "reporter", lambda node_id: lambda *at: seen.append(at))
    answer = FastFaceBuildEngine().build("small", **SMALL)
    (info,) = answer["result"]
    assert answer["ui"]["text"] == [info]
    assert "2 engines by tensorrt_rtx" in info and "builds without a GPU" in info
    assert "detector.onnx in fp32 for 1x3x64x64 to 4x3x160x160, best 2x3x96x96" in info
    assert "embedder.onnx in fp16" in info and "no NVIDIA GPU here to run it on" in info
    assert seen == sorted(seen) and seen[-1] == (200, 200) and len(seen) > 20
    (again,) = FastFaceBuildEngine().build("small", **SMALL)["result"]
    assert again.count("there already") == 2


def test_stop_stops_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx, which needs no GPU, is not installed")
    monkeypatch.setattr(engine_building, "card_here", lambda index=0: None)

    class Stopped(BaseException):
        """As ComfyUI's interruption is in new versions."""

    calls: list[int] = []

    def stop() -> None:
        calls.append(1)
        if len(calls) > 5:
            raise Stopped

    monkeypatch.setattr(host, "check_interrupted", stop)
    with pytest.raises(Stopped):
        FastFaceBuildEngine().build("small", **SMALL)
    assert len(calls) == 6
    assert not list(EngineStore().folder.glob("**/*"))


def test_the_users_photos_are_compared(monkeypatch: pytest.MonkeyPatch):
    put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)
    requests = []
    build_pack = engine_building.build_pack

    def remember(pack: object, request: engine_building.BuildRequest, *more: object) -> object:
        requests.append(request)
        return build_pack(pack, request, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(engine_building, "build_pack", remember)
    node = FastFaceBuildEngine()
    node.build("small", images=torch.rand(2, 96, 96, 3), workspace_mb=512, **SMALL)
    assert len(requests[0].images) == 2 and requests[0].workspace_bytes == 512 * 2**20


def test_without_a_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    put_in_place(monkeypatch, [], GEFORCE)
    with pytest.raises(BackendUnavailable, match=r"GeForce RTX 4090 .* install tensorrt-rtx-cu1"):
        FastFaceBuildEngine().build("small", **SMALL)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"best_batch": 8}, "got a batch from 1 to 4, best 8"),
        ({"max_size": 64}, "got a size from 64 to 64, best 96"),
        ({"precision": "int8"}, "got precision 'int8'"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict, said: str):
    with pytest.raises(InvalidInput, match=said):
        FastFaceBuildEngine().build("small", **SMALL | changes)


def test_a_pack_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="no model pack 'antelopev3'; choose one of small"):
        FastFaceBuildEngine().build("antelopev3", **SMALL)


def test_defaults_are_those_of_the_profile_and_the_backend():
    parameters = inspect.signature(FastFaceBuildEngine.build).parameters
    declared = FastFaceBuildEngine.INPUT_TYPES()["required"]
    for name, (kind, options) in declared.items():
        if name != "model_pack":
            default = kind[0] if isinstance(kind, list) else options["default"]
            assert parameters[name].default == default, name
    assert parameters["max_size"].default == Profile().side.most
    assert parameters["precision"].default == tensorrt.PRECISIONS[0]


def test_it_is_never_answered_from_a_cache():
    first, second = (FastFaceBuildEngine.IS_CHANGED() for _ in range(2))
    assert first != second

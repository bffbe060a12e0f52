"""Real networks: unloaded at random under eight threads, and failing in the middle of a run."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fastface.backends.base import Backend
from fastface.backends.interfaces import DetectionOptions, Session
from fastface.backends.onnxruntime import OnnxRuntimeBackend
from fastface.backends.placement import Placement
from fastface.backends.registry import all_backends, get_backend
from fastface.backends.sessions.ort_session import OrtSession
from fastface.pipeline import lifecycle
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import BackendUnavailable, OutOfMemory
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.packs import ModelFile, ModelPack
from fastface.utils.packs.read import read_pack

runtime_state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")

CALLS, THREADS = 1000, 8
SMALL = DetectionOptions(sizes_wh=((128, 128),), threshold=0.3)


@pytest.fixture(scope="module")
def pack(test_data: Path) -> ModelPack:
    return read_pack("models", test_data / "models")


@pytest.fixture(scope="module")
def crowd(test_data: Path) -> torch.Tensor:
    """Four faces and more, at half their size: `[1,H,W,3]`."""
    cv2 = pytest.importorskip("cv2")
    image = cv2.imread(str(test_data / "images" / "multiface.jpg"))[::2, ::2, ::-1]
    return torch.from_numpy(image.copy()).float()[None] / 255


def analysed(analyzer: Analyzer, pixels: torch.Tensor, options: DetectionOptions) -> Faces:
    images = Images.from_comfy(pixels)
    return analyzer.describe(images, analyzer.detect(images, options), ["recognition"])


def same(first: Faces, second: Faces) -> bool:
    pairs = zip(first.tensors(), second.tensors(), strict=True)
    return all(torch.equal(one, other) for (_, one), (_, other) in pairs)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_eight_threads_while_another_unloads_at_random(
    pack: ModelPack, crowd: torch.Tensor, backend: str
) -> None:
    if reason := all_backends()[backend].why_unavailable():
        pytest.skip(reason)
    analyzer = Analyzer(pack, get_backend(backend), Placement())
    pair = crowd[:, 150:320, 380:530]  # few faces: most of the time is to go to coming and leaving
    pictures = [pair, pair.flip(2), crowd[:, :, :200], pair * 0.5]
    expected = [analysed(analyzer, picture, SMALL) for picture in pictures]
    assert sum(map(len, expected)) > 3
    stop, chance, unloaded = threading.Event(), random.Random(7), [0]

    def unloading() -> None:
        while not stop.wait(chance.uniform(0, 3)):
            unloaded[0] += lifecycle.unload()

    unloader = threading.Thread(target=unloading)
    unloader.start()
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            numbers = range(CALLS)
            found = threads.map(
                lambda n: same(
                    analysed(analyzer, pictures[n % len(pictures)], SMALL),
                    expected[n % len(pictures)],
                ),
                numbers,
                timeout=300,
            )
            assert list(found) == [True] * CALLS
    finally:
        stop.set()
        unloader.join(30)
    assert not unloader.is_alive() and unloaded[0] > 5


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch", "insightface"])
def test_what_was_unloaded_comes_back_and_answers_the_same(
    pack: ModelPack, crowd: torch.Tensor, backend: str
) -> None:
    if reason := all_backends()[backend].why_unavailable():
        pytest.skip(reason)
    analyzer = Analyzer(pack, get_backend(backend), Placement())
    expected = analysed(analyzer, crowd, SMALL)

    def ours() -> set[str]:
        found = [model for model in lifecycle.loaded() if model.backend == backend]
        assert all(model.size_bytes > 1e6 and model.runs_on.device == "cpu" for model in found)
        return {task for model in found for task in model.task.split(", ")}

    assert ours() == {"detection", "recognition"}
    assert lifecycle.unload("models") > 0 and ours() == set()
    assert same(analysed(analyzer, crowd, SMALL), expected)
    assert ours() == {"detection", "recognition"}


def test_with_batches_each_model_goes_with_the_last_image(
    pack: ModelPack, crowd: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = FaceAnalysis(Analyzer(pack, get_backend("onnxruntime"), Placement()), SMALL)
    expected = app.analyze(Images.from_comfy(crowd), ["recognition"])
    monkeypatch.setenv("FASTFACE_PROFILE", "low-memory")
    seen = []
    batch = torch.cat([crowd, crowd])
    found = app.analyze(
        Images.from_comfy(batch), ["recognition"], lambda *_: seen.append(lifecycle.loaded())
    )
    assert all(seen), "they stay until the last image"
    assert lifecycle.loaded() == []
    assert same(found.of_image(0), expected)


class Failing:
    """An engine's own session that fails in some of its runs."""

    def __init__(self, raw: Any, error: Exception, fails: Callable[[Any], bool]) -> None:
        self._raw, self._error, self._fails = raw, error, fails

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def run(self, names: Any, inputs: dict[str, Any], options: Any = None) -> Any:
        if self._fails(next(iter(inputs.values()))):
            raise self._error
        return self._raw.run(names, inputs, options)


class CardThatFails(OnnxRuntimeBackend):
    """ONNX Runtime on a machine whose card computes as its CPU does, until it fails."""

    name = "card"

    def __init__(self, error: Exception, fails: Callable[[Any], bool]) -> None:
        super().__init__()
        self._error, self._fails = error, fails
        self._on_card = False

    def devices(self) -> tuple[str, ...]:
        return ("cuda", "cpu")

    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        self._on_card = placement.device == "cuda"
        return super().open_session(model, replace(placement, device="cpu"))

    def _open(self, *given: Any) -> OrtSession:
        session = super()._open(*given)
        if self._on_card:
            session.raw = Failing(session.raw, self._error, self._fails)
            session.runs_on = replace(
                session.runs_on, device="cuda:0", provider="CUDAExecutionProvider"
            )
        return session


def provider_fault() -> Exception:
    return runtime_state.Fail("CUDA failure 719: unspecified launch failure")


def full() -> Exception:
    return runtime_state.RuntimeException("Failed to allocate memory for requested buffer")


def expected_of(pack: ModelPack, pixels: torch.Tensor) -> Faces:
    options = DetectionOptions()
    found = analysed(Analyzer(pack, get_backend("onnxruntime"), Placement()), pixels, options)
    assert len(found) >= 4
    return found


def with_card(pack: ModelPack, backend: Backend, strict: bool = False) -> Analyzer:
    return Analyzer(pack, backend, Placement("cuda", strict=strict))


def test_a_card_that_fails_in_the_middle_costs_no_result(
    pack: ModelPack, crowd: torch.Tensor, caplog
) -> None:
    runs = itertools.count()
    analyzer = with_card(pack, CardThatFails(provider_fault(), lambda x: next(runs) > 2))
    expected = expected_of(pack, crowd)
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        for _ in range(4):
            assert same(analysed(analyzer, crowd, DetectionOptions()), expected)
    assert caplog.text.count("it runs on cpu until it is released") == 2, "one for each network"
    for where in analyzer.runs_on().values():
        assert where.provider == "CPUExecutionProvider"
        assert "unspecified launch failure" in where.note


def test_a_card_that_fails_is_an_error_where_nothing_else_is_wanted(
    pack: ModelPack, crowd: torch.Tensor
) -> None:
    runs = itertools.count()
    analyzer = with_card(pack, CardThatFails(provider_fault(), lambda x: next(runs) == 1), True)
    expected = expected_of(pack, crowd)
    with pytest.raises(BackendUnavailable, match=r"CUDAExecutionProvider failed .* 719"):
        analysed(analyzer, crowd, DetectionOptions())
    assert same(analysed(analyzer, crowd, DetectionOptions()), expected)


@pytest.mark.parametrize("fitting", [1, 2])
def test_a_card_that_is_full_computes_fewer_at_a_time(
    pack: ModelPack, crowd: torch.Tensor, fitting: int, caplog
) -> None:
    analyzer = with_card(pack, CardThatFails(full(), lambda x: len(x) > fitting))
    batch = torch.cat([crowd, crowd.flip(2), crowd])
    found = analysed(analyzer, batch, DetectionOptions())
    expected = expected_of(pack, batch)
    assert found.per_image() == expected.per_image()
    for (_, one), (_, other) in zip(found.tensors(), expected.tensors(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-3)
    assert "out of memory with 3 at once" in caplog.text
    assert all(not where.note for where in analyzer.runs_on().values())


def test_a_card_that_is_full_with_one_image(pack: ModelPack, crowd: torch.Tensor) -> None:
    backend = CardThatFails(full(), lambda x: x.shape[-1] > 200)  # detection alone
    analyzer = with_card(pack, backend)
    assert same(analysed(analyzer, crowd, DetectionOptions()), expected_of(pack, crowd))
    where = analyzer.runs_on()
    assert where["detection"].device == "cpu" and where["recognition"].device == "cuda:0"
    strict = with_card(pack, backend, strict=True)
    with pytest.raises(OutOfMemory, match="use fewer images at a time or a smaller det_size"):
        analysed(strict, crowd, DetectionOptions())
    assert len(analysed(strict, crowd, SMALL)) > 0, "a smaller one fits"

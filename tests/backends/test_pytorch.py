"""The torch backend: what it opens, where, and what it says when it can't."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.onednn_convolution import OneDnnConvolution, why_not_onednn
from fastface.backends.placement import Placement, _warn_once
from fastface.backends.pytorch import TorchBackend
from fastface.utils.errors import BackendUnavailable, ModelError
from fastface.utils.packs import ModelFile
from tests.backends.onnx_graphs.small_graphs import detector, embedder, model_of

onnx = pytest.importorskip("onnx")


def written(model, folder: Path, task: str = "recognition") -> ModelFile:
    path = folder / "model.onnx"
    onnx.save(model, path)
    shape = (1, 3, None, None) if task == "detection" else (1, 3, 112, 112)
    return ModelFile(path, task, input_shape=shape, output_shapes=((1, 16),))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _warn_once.cache_clear()
    monkeypatch.setattr("fastface.backends.placement.torch_devices", lambda: ("cpu",))


def test_a_batch_runs_at_once(tmp_path: Path) -> None:
    session = TorchBackend().open_session(written(embedder("flatten"), tmp_path), Placement())
    x = torch.randn(3, 3, 112, 112)
    (together,) = session.run(x)
    singles = torch.cat([session.run(image[None])[0] for image in x])
    assert together.shape == (3, 16)
    torch.testing.assert_close(together, singles, rtol=1e-4, atol=1e-5)
    assert str(session.runs_on) == "torch fp32 on cpu, 100% of its nodes"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_half_precision(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    model = written(detector(), tmp_path, "detection")
    x = torch.randn(2, 3, 64, 96)
    exact = TorchBackend().open_session(model, Placement()).run(x)
    half = TorchBackend().open_session(model, Placement(precision=precision)).run(x)
    assert {output.dtype for output in half} == {dtype}
    for want, got in zip(exact, half, strict=True):
        torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("reason", [None, "torch has no such operators"])
def test_in_bf16_convolutions_do_what_follows_them_where_torch_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    if why_not_onednn() is not None and reason is None:
        pytest.skip(str(why_not_onednn()))
    monkeypatch.setattr("fastface.backends.pytorch.why_not_onednn", lambda: reason)
    model = written(detector(), tmp_path, "detection")
    for precision in ("fp32", "bf16"):
        session = TorchBackend().open_session(model, Placement(precision=precision))
        network = getattr(session, "whole", session).raw
        fused = any(isinstance(layer, OneDnnConvolution) for layer in network.modules())
        assert fused == (precision == "bf16" and reason is None)
        assert len(session.run(torch.zeros(1, 3, 64, 64))) == 9


def test_mixed_precision_halves_recognition_alone(tmp_path: Path) -> None:
    mixed = Placement(precision="mixed")
    found = TorchBackend().open_session(written(detector(), tmp_path, "detection"), mixed)
    assert found.run(torch.zeros(1, 3, 64, 64))[0].dtype == torch.float32
    assert str(found.runs_on).startswith("torch fp32 on cpu")
    told = TorchBackend().open_session(written(embedder("flatten"), tmp_path), mixed)
    assert told.run(torch.zeros(1, 3, 112, 112))[0].dtype == torch.float16
    assert str(told.runs_on).startswith("torch fp16 on cpu")


@pytest.mark.parametrize(
    ("device", "cards", "capability", "auto"),
    [
        ("cuda", 1, (9, 0), "mixed"),
        ("cuda:1", 2, (7, 0), "mixed"),
        ("cuda", 1, (6, 1), "fp32"),
        ("cuda", 0, (9, 0), "fp32"),
        ("mps", 0, (9, 0), "fp32"),
        ("cpu", 1, (9, 0), "fp32"),
    ],
)
def test_what_auto_takes_follows_the_card(
    monkeypatch: pytest.MonkeyPatch, device: str, cards: int, capability: tuple, auto: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    precisions = TorchBackend().precisions(device)
    assert precisions[0] == auto and sorted(precisions) == ["bf16", "fp16", "fp32", "mixed"]


class TestCompile:
    @pytest.fixture(autouse=True)
    def wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FASTFACE_TORCH_COMPILE", "1")

    def test_shapes_that_keep_coming_are_compiled(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiled: list[object] = []
        original = torch.compile

        def compile_(traced: Any, **options: Any) -> object:
            compiled.append(traced)
            # Without code generation, which would need a C++ compiler.
            return original(traced, backend="aot_eager", **options)

        monkeypatch.setattr(torch, "compile", compile_)
        session = TorchBackend().open_session(
            written(detector(), tmp_path, "detection"), Placement()
        )
        x = torch.randn(2, 3, 64, 96)
        results = [session.run(x) for _ in range(5)]
        session.run(x[:1])
        assert len(compiled) == 1
        for result in results[1:]:
            assert all(map(torch.equal, result, results[0]))

    def test_a_compiler_that_fails_is_gone_without_and_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def compile_(traced: Any, **options: Any) -> object:
            raise RuntimeError("no compiler found")

        monkeypatch.setattr(torch, "compile", compile_)
        session = TorchBackend().open_session(written(embedder("flatten"), tmp_path), Placement())
        x = torch.randn(1, 3, 112, 112)
        with caplog.at_level(logging.WARNING, logger="FastFace"):
            results = [session.run(x)[0] for _ in range(6)]
        assert all(torch.equal(result, results[0]) for result in results)
        (record,) = caplog.records
        assert "without torch.compile, which failed: no compiler found" in record.getMessage()


def test_a_device_that_is_not_there_is_said_once(
    tmp_path: Path, no_gpu: None, caplog: pytest.LogCaptureFixture
) -> None:
    model = written(embedder("flatten"), tmp_path)
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        sessions = [TorchBackend().open_session(model, Placement("cuda")) for _ in range(2)]
    assert [session.device.type for session in sessions] == ["cpu", "cpu"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert "asked for cuda" in message and "has only cpu" in message
    assert sessions[0].runs_on.note == message


def test_strict_refuses_another_device(tmp_path: Path, no_gpu: None) -> None:
    with pytest.raises(BackendUnavailable, match="asked for cuda"):
        model = written(embedder("flatten"), tmp_path)
        TorchBackend().open_session(model, Placement("cuda", strict=True))


def test_an_unknown_operator_is_named_with_its_node(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Flatten", ["image"], ["f"]),
        helper.make_node("Erf", ["f"], ["embedding"], name="the_odd_one"),
    ]
    model = model_of(nodes, {}, ["N", 3, 112, 112], ["embedding"], [["N", 37632]], 11)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    file = ModelFile(path, "recognition", (None, 3, 112, 112), output_shapes=((None, 37632),))
    with pytest.raises(ModelError, match=r"Erf.*the_odd_one.*onnxruntime"):
        TorchBackend().open_session(file, Placement())


def test_weights_can_leave_and_return(tmp_path: Path) -> None:
    session = TorchBackend().open_session(written(embedder("batch_norm"), tmp_path), Placement())
    x = torch.randn(1, 3, 112, 112)
    before = session.run(x)[0]
    session.leave_device()
    session.return_to_device()
    assert torch.equal(session.run(x)[0], before)


def test_without_onnxruntime_rewrites_are_proved_in_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = written(detector(opset=13), tmp_path, "detection")
    session = TorchBackend().open_session(model, Placement())
    assert session.run(torch.zeros(2, 3, 64, 64))[0].shape == (2, 128, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_captured_runs_equal_plain_ones(tmp_path: Path, precision: str) -> None:
    model = written(detector(), tmp_path, "detection")
    session = TorchBackend().open_session(model, Placement("cuda", precision))
    generator = np.random.default_rng(0)
    for _ in range(6):
        x = torch.tensor(generator.normal(size=(2, 3, 64, 96)), device="cuda").float()
        plain = session.raw(x.to(next(session.raw.buffers()).dtype))
        for want, got in zip(plain, session.run(x), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-2)


def test_a_device_that_is_not_there_is_no_obstacle_to_its_precisions(no_gpu: None) -> None:
    assert TorchBackend().precisions("cuda")[0] == "fp32"

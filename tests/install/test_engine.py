"""The command `engine`: the node's work without ComfyUI, and a list of what is built."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastface.backends.trt.engines import EngineStore
from fastface.installer.pack_commands import comfyui as around
from fastface.installer.pack_commands import engine
from fastface.pipeline import engine_building
from fastface.utils import host
from fastface.utils.pictures import write_picture
from tests.backends.trt.on_stub import GEFORCE, put_in_place, small_pack
from tests.backends.trt.stub import TENSORRT_11, StubModule

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

SMALL = ["--best-batch", "2", "--max-batch", "4"]
SMALL += ["--min-size", "64", "--best-size", "96", "--max-size", "160"]


@pytest.fixture(autouse=True)
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> pytest.LogCaptureFixture:
    """A pack `small`, a card and a library; what the command says."""
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("FASTFACE_MODELS", str(tmp_path / "roots"))
    small_pack(tmp_path / "roots" / "small")
    put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)
    caplog.set_level(logging.INFO, "FastFace")
    return caplog


def test_it_builds_and_lists(said: pytest.LogCaptureFixture):
    assert engine.main(["--list"]) == 0 and "no engines" in said.text
    assert engine.main(["--pack", "small", "--precision", "fp32", *SMALL]) == 0
    assert "2 engines by tensorrt 11.4" in said.text and "100 %" in said.text
    said.clear()
    assert engine.main(["--list"]) == 0
    assert "detection: detector.onnx in fp32 for 1x3x64x64 to 4x3x160x160" in said.text
    assert "recognition: embedder.onnx" in said.text


def test_check_tells_what_is_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        engine_building._Work,
        "_examine",
        lambda *_: engine_building.AccuracyReport("unfit", ("wrong",)),
    )
    arguments = ["--pack", "small", *SMALL]
    assert engine.main(arguments) == 0
    assert engine.main([*arguments, "--check"]) == 1


def test_photos_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import numpy as np

    requests: list[engine_building.BuildRequest] = []

    def remember(
        pack: object, request: engine_building.BuildRequest, *more: object
    ) -> engine_building.PackEngines:
        requests.append(request)
        return engine_building.build_pack(pack, request, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "build_pack", remember)
    for number in (0, 1):
        write_picture(tmp_path / f"{number}.png", np.zeros((64 + 32 * number, 96, 3), np.uint8))
    photos = [str(tmp_path / f"{number}.png") for number in (0, 1)]
    assert engine.main([*photos, "--pack", "small", "--workspace-mb", "64", *SMALL]) == 0
    assert requests[0].images is not None
    assert requests[0].images.sizes_hw == ((64, 96), (96, 96))
    assert requests[0].workspace_bytes == 64 * 2**20


def test_engines_of_a_comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said):
    comfyui = tmp_path / "ComfyUI"
    monkeypatch.delenv("FASTFACE_MODELS")
    small_pack(comfyui / "models" / "insightface" / "models" / "its_own")
    assert engine.main(["--pack", "its_own", "--comfyui", str(comfyui), *SMALL]) == 0
    assert len(list((comfyui / "user" / "__fastface" / "tensorrt").glob("*.engine"))) == 2
    assert not list(EngineStore().folder.glob("*.engine"))
    # From within its custom_nodes it needs no name.
    (comfyui / "main.py").write_text("")
    monkeypatch.setattr(around, "_PACK_FOLDER", comfyui / "custom_nodes" / "pack")
    said.clear()
    assert engine.main(["--list"]) == 0 and "embedder.onnx" in said.text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--pack antelopev2"),
        (["--pack", "none_such"], "there is no model pack 'none_such'"),
        (["--pack", "small", "--max-batch", "1"], "got a batch from 1 to 1, best 8"),
        (["no_photo.jpg", "--pack", "small"], "can't be read as a picture"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: list[str], reason: str, said):
    assert engine.main(arguments) == 1
    assert reason in said.text

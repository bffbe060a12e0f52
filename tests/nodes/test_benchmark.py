"""The benchmark node: what it refuses, what it gives, and that it can be stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from fastface.nodes import benchmark
from fastface.nodes.benchmark import FastFaceBenchmark
from fastface.utils import host
from fastface.utils.errors import InvalidInput


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins are made once for all of these tests, and no history of others is seen."""
    folder = tmp_path_factory.getbasetemp() / "benchmark_node"
    monkeypatch.setattr(host, "cache_folder", lambda: folder)
    return folder


PHOTO = torch.rand(1, 200, 320, 3, generator=torch.Generator().manual_seed(0))


def test_a_wrong_name_is_answered_with_the_list():
    with pytest.raises(InvalidInput, match=r"got contestant 'tensorflow', expected one of .*torch"):
        FastFaceBenchmark().measure(PHOTO, "random:buffalo_s", contestants="torch, tensorflow")


def test_a_path_is_no_pack_of_a_workflow(tmp_path: Path):
    (tmp_path / "x.onnx").write_bytes(b"weights")
    with pytest.raises(InvalidInput, match="expected a name, not a path"):
        FastFaceBenchmark().measure(PHOTO, str(tmp_path))


def test_no_image_is_refused():
    with pytest.raises(InvalidInput, match="got no image"):
        FastFaceBenchmark().measure(PHOTO[:0])


def test_it_gives_text_chart_and_json(monkeypatch: pytest.MonkeyPatch):
    # The chart needs nothing that ComfyUI does not bring.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    pytest.importorskip("onnxruntime")
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        benchmark, "reporter", lambda node_id: lambda done, total: seen.append((done, total))
    )
    node = FastFaceBenchmark()
    inputs = {"contestants": "onnxruntime", "det_size": 320, "rounds": 1, "device": "cpu"}
    result = node.measure(PHOTO, "random:buffalo_s", **inputs)
    text, chart, data = result["result"]
    assert "RANDOM WEIGHTS" in text and "onnxruntime cpu fp32" in text
    assert chart.shape[0] == 1 and chart.shape[2:] == (1080, 3)
    assert chart.dtype == torch.float32 and 0 <= chart.min() < chart.max() <= 1
    assert json.loads(data)["cases"][0]["rows"][0]["state"] == "measured"
    assert json.loads(data)["settings"]["source"] == "image"
    assert result["ui"]["text"] == [text]
    assert seen[-1][0] == seen[-1][1]


def test_stop_stops(monkeypatch: pytest.MonkeyPatch):
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    monkeypatch.setattr(host, "check_interrupted", stop)
    with pytest.raises(Stopped):
        FastFaceBenchmark().measure(PHOTO, "random:buffalo_s", contestants="onnxruntime")


def test_it_is_never_answered_from_a_cache():
    first, second = (FastFaceBenchmark.IS_CHANGED() for _ in range(2))
    assert first != second

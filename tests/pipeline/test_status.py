"""The status: complete, JSON, free of paths, and the same in every form it is shown in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import psutil
import pytest

from fastface.pipeline import status as module
from fastface.pipeline.exposition import as_prometheus
from fastface.pipeline.lifecycle import unload
from fastface.pipeline.loading import load_face_analysis
from fastface.pipeline.status import as_text, status
from fastface.utils.metrics import Metrics
from tests.photos import read_bgr


@pytest.fixture(autouse=True)
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    """Counts of this test alone."""
    metrics = Metrics()
    for name in (
        "pipeline.status",
        "pipeline.insightface_compat.facade",
        "pipeline.insightface_compat.batches",
        "utils.metrics",
    ):
        monkeypatch.setattr(f"fastface.{name}.METRICS", metrics)
    return metrics


@pytest.fixture
def used(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The status after a photo was analysed twice, with nothing in memory before."""

    unload()
    monkeypatch.setenv("FASTFACE_MODELS", str(test_data))
    app = load_face_analysis(model_pack="models", backend="onnxruntime", device="cpu")
    photo = read_bgr(test_data / "images" / "multiface.jpg")
    photo[0, 0] = np.random.default_rng().integers(0, 256, 3)
    for _ in range(2):
        for face in app.get(photo):
            assert face.embedding is not None
    return status()


def test_nothing_happened_yet():
    shown = status()
    assert shown["calls"] == shown["stages"] == {} and shown["images"] == shown["faces"] == 0
    assert json.loads(json.dumps(shown)) == shown
    assert as_text(shown) and as_prometheus(shown)


def test_what_happened_is_counted(used: dict, test_data: Path):
    calls = used["calls"]["get"]
    assert calls["count"] == used["images"] == 2 and used["failed_calls"] == 0
    assert used["faces"] % 2 == 0 < used["faces"]
    assert used["stages"]["detector"]["count"] == 1, "the second time nothing ran"
    assert 0 < calls["p50"] <= calls["p95"] <= calls["p99"] <= calls["seconds"]
    caches = used["caches"]
    assert caches["detections"]["hits"] >= 1 and caches["detections"]["entries"] >= 1
    models = {model["task"]: model for model in used["models"]}
    assert set(models) == {"detection", "recognition"} and len(used["models"]) == 2
    for file, task in (("scrfd_2.5g_bnkps", "detection"), ("mobilefacenet", "recognition")):
        assert models[task]["bytes"] == (test_data / "models" / f"{file}.onnx").stat().st_size
        assert models[task]["provider"] == "CPUExecutionProvider" and models[task]["as_asked"]


def test_what_is_being_done_for_the_first_time_is_no_figure_yet(metrics: Metrics):
    with metrics.call("get"), metrics.stage("detector"):
        shown = status()
    assert shown["calls"] == shown["stages"] == {}
    assert as_text(shown) and as_prometheus(shown)


def test_memory_is_that_of_the_process():
    rss = psutil.Process().memory_info().rss
    assert status()["memory"]["rss_bytes"] == pytest.approx(rss, rel=0.1)


def test_no_path_shows(used: dict, test_data: Path):
    for text in (json.dumps(used), as_prometheus(used)):
        assert str(test_data) not in text and ".onnx" not in text and "/models" not in text


def test_a_model_that_runs_elsewhere_says_so_without_the_reason(used, monkeypatch):
    from dataclasses import replace

    models = module.model_registry.loaded()
    elsewhere = [
        replace(each, runs_on=replace(each.runs_on, note="/usr/lib/x.so is missing"))
        for each in models
    ]
    monkeypatch.setattr(module.model_registry, "loaded", lambda: elsewhere)
    shown = status()
    assert not any(model["as_asked"] for model in shown["models"])
    assert "/usr/lib" not in json.dumps(shown) and "not as asked" in as_text(shown)


def test_text_has_every_figure(used: dict):
    text = as_text(used)
    for name in (*used["calls"], *used["stages"], *used["caches"]):
        assert f"  {name}" in text
    assert f"images: 2, faces: {used['faces']}, failed calls: 0" in text
    (size,) = {m["bytes"] for m in used["models"] if m["task"] == "recognition"}
    where = "onnxruntime, CPUExecutionProvider on cpu"
    assert f"  models recognition: {size / 1e6:.1f} MB, {where}, idle 0 s" in text
    unload("models")
    assert "models recognition" not in as_text(status())


class TestPrometheus:
    def parsed(self, shown: dict) -> dict[tuple, float]:
        from prometheus_client.parser import text_string_to_metric_families

        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(as_prometheus(shown))
            for sample in family.samples
        }

    def test_its_own_parser_reads_the_same_figures(self, used: dict):
        samples = self.parsed(used)
        get = ("call", "get")
        assert samples["fastface_images_total",] == 2
        assert samples["fastface_faces_total",] == used["faces"]
        assert samples["fastface_call_seconds_count", get] == 2
        assert samples["fastface_call_seconds_sum", get] == used["calls"]["get"]["seconds"]
        for key, quantile in (("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99")):
            sample = samples["fastface_call_seconds", get, ("quantile", quantile)]
            assert sample == used["calls"]["get"][key]
        hits = samples["fastface_cache_hits_total", ("cache", "detections")]
        assert hits == used["caches"]["detections"]["hits"]
        sizes = {
            dict(labels)["task"]: value
            for (name, *labels), value in samples.items()
            if name == "fastface_model_bytes" and ("pack", "models") in labels
        }
        expected = {m["task"]: m["bytes"] for m in used["models"] if m["pack"] == "models"}
        assert sizes == expected
        rss = used["memory"]["rss_bytes"]
        assert samples["fastface_resident_memory_bytes",] == rss

    def test_gpus_have_rows(self):
        shown = status()
        gpu = {"device": "cuda:1", "free_bytes": 1, "total_bytes": 3, "torch_bytes": 2}
        shown["memory"]["gpus"] = [gpu]
        samples = self.parsed(shown)
        for name, value in (("free", 1), ("total", 3), ("torch", 2)):
            assert samples[f"fastface_gpu_memory_{name}_bytes", ("device", "cuda:1")] == value
        assert "cuda:1: 0.0 MB of 0.0 MB free" in as_text(shown)

    def test_the_global_registry_is_left_alone(self):
        from prometheus_client import REGISTRY

        as_prometheus(status())
        assert not any(family.name.startswith("fastface") for family in REGISTRY.collect())

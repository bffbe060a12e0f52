"""The status in Prometheus' text format, for servers that are watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "fastface"

#: Name, help, and where in the status it is.
_COUNTERS = (
    ("images", "Images given to calls.", "images"),
    ("faces", "Faces that calls gave back.", "faces"),
    ("failed_calls", "Calls that raised an error or were interrupted.", "failed_calls"),
    ("fallbacks", "Models opened, or gone on, another way than asked for.", "fallbacks"),
)
_LATENCIES = (
    ("call_seconds", "Time of calls.", "calls", "call"),
    ("stage_seconds", "Time of stages; on a GPU, to queue their work.", "stages", "stage"),
)
_CACHE_COUNTERS = (
    ("hits", "Answers that were known."),
    ("misses", "Answers that had to be worked out."),
    ("evictions", "Results put out by others."),
)
_CACHE_GAUGES = (("entries", "Results kept."), ("bytes", "Bytes kept."))
_MODEL_LABELS = ("pack", "task", "backend", "device", "provider")
_QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}


def as_prometheus(shown: Mapping[str, Any]) -> str:
    """Renders what `status` gives in the text format, version 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Status(Collector):
        def collect(self) -> Iterator[Any]:
            return _families(shown)

    # A registry of its own: the global one belongs to the process, and holds others' metrics.
    registry = CollectorRegistry()
    registry.register(Status())
    return generate_latest(registry).decode()


def _families(shown: Mapping[str, Any]) -> Iterator[Any]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        SummaryMetricFamily,
    )

    for name, text, field in _COUNTERS:
        yield CounterMetricFamily(f"{_PREFIX}_{name}", text, value=shown[field])
    for name, text, field, label in _LATENCIES:
        family = SummaryMetricFamily(f"{_PREFIX}_{name}", text, labels=[label])
        for of, latency in shown[field].items():
            family.add_metric([of], latency["count"], latency["seconds"])
            for key, quantile in _QUANTILES.items():
                labels = {label: of, "quantile": quantile}
                family.add_sample(family.name, labels, latency[key])
        yield family
    for kind, columns in (
        (CounterMetricFamily, _CACHE_COUNTERS),
        (GaugeMetricFamily, _CACHE_GAUGES),
    ):
        for column, text in columns:
            family = kind(f"{_PREFIX}_cache_{column}", text, labels=["cache"])
            for cache, values in shown["caches"].items():
                family.add_metric([cache], values[column])
            yield family
    models = GaugeMetricFamily(
        f"{_PREFIX}_model_bytes", "Weights of models in memory.", labels=_MODEL_LABELS
    )
    for model in shown["models"]:
        models.add_metric([model[label] for label in _MODEL_LABELS], model["bytes"])
    yield models
    memory = shown["memory"]
    yield GaugeMetricFamily(
        f"{_PREFIX}_resident_memory_bytes", "RAM of the process.", value=memory["rss_bytes"]
    )
    for column in ("free", "total", "torch"):
        family = GaugeMetricFamily(
            f"{_PREFIX}_gpu_memory_{column}_bytes", f"GPU memory: {column}.", labels=["device"]
        )
        for gpu in memory["gpus"]:
            family.add_metric([gpu["device"]], gpu[f"{column}_bytes"])
        yield family

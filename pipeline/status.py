"""What the pack did since the process began, and what it holds now: as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from ..backends.residency import model_registry
from ..utils.free_memory import resident_bytes
from ..utils.gallery.search import INDEXES
from ..utils.metrics import METRICS, Latency
from .insightface_compat.result_cache import CACHES


def status() -> dict[str, Any]:
    """Everything that is counted, ready for JSON; holds no path and creates no CUDA context.

    Returns:
        `calls`, `stages`: by name, `count`, `seconds` in all, and of the last 1,000 `p50`, `p95`
            and `p99` in seconds; stages lie inside calls and inside one another.
        `images`, `faces`: given to calls and given back; `failed_calls`.
        `caches`: by name, `entries`, `bytes`, `hits`, `misses`, `evictions`.
        `models`: those in memory, with `bytes` of their weights, `device`, `provider`, whether
            that is `as_asked`, and `idle_seconds`.
        `fallbacks`: how often a model was opened, or went on, another way than was asked for.
        `memory`: `rss_bytes` of the process and, for each CUDA device in use, `free_bytes`,
            `total_bytes` and what torch holds of it.
    """
    return {
        "calls": _latencies(METRICS.calls()),
        "stages": _latencies(METRICS.stages()),
        "images": METRICS.count("images"),
        "faces": METRICS.count("faces"),
        "failed_calls": METRICS.count("failed"),
        "caches": {cache.name: asdict(cache.status()) for cache in (*CACHES, INDEXES)},
        "models": [_model(model) for model in model_registry.loaded()],
        "fallbacks": model_registry.fallbacks(),
        "memory": {"rss_bytes": resident_bytes(), "gpus": _gpus()},
    }


def _latencies(latencies: Mapping[str, Latency]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "count": latency.count,
            "seconds": latency.seconds,
            "mean": latency.mean,
            **{f"p{quantile * 100:g}": value for quantile, value in latency.quantiles.items()},
        }
        for name, latency in latencies.items()
    }


def _model(model: model_registry.LoadedModel) -> dict[str, Any]:
    return {
        "pack": model.pack,
        "task": model.task,
        "backend": model.backend,
        "device": model.device,
        "provider": model.runs_on.provider,
        # The note itself may name files.
        "as_asked": not model.runs_on.note,
        "bytes": model.size_bytes,
        "idle_seconds": round(model.idle_seconds, 1),
    }


def _gpus() -> list[dict[str, Any]]:
    """CUDA devices that this process uses; asking others would create a context on them."""
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return []
    gpus = []
    for index in range(torch.cuda.device_count()):
        held = torch.cuda.memory_reserved(index)
        if held:
            free, total = torch.cuda.mem_get_info(index)
            gpus.append(
                {
                    "device": f"cuda:{index}",
                    "free_bytes": free,
                    "total_bytes": total,
                    "torch_bytes": held,
                }
            )
    return gpus


def as_text(shown: Mapping[str, Any]) -> str:
    """The same in lines for people."""
    memory = shown["memory"]
    lines = [f"process: {_mb(memory['rss_bytes'])} of RAM"]
    lines += [
        f"{gpu['device']}: {_mb(gpu['free_bytes'])} of {_mb(gpu['total_bytes'])} free, "
        f"torch holds {_mb(gpu['torch_bytes'])}"
        for gpu in memory["gpus"]
    ]
    lines += ["", "models in memory:"] + ([_model_line(m) for m in shown["models"]] or ["  none"])
    lines += [
        "",
        f"images: {shown['images']}, faces: {shown['faces']}, "
        f"failed calls: {shown['failed_calls']}, fallbacks: {shown['fallbacks']}",
    ]
    for kind in ("calls", "stages"):
        if shown[kind]:
            lines += ["", f"{kind}, in ms:", *_latency_table(shown[kind])]
    lines += ["", "caches:", *(_cache_line(*each) for each in shown["caches"].items())]
    return "\n".join(lines)


def _model_line(model: Mapping[str, Any]) -> str:
    note = "" if model["as_asked"] else ", not as asked: see FastFace Loader's info"
    return (
        f"  {model['pack']} {model['task']}: {_mb(model['bytes'])}, {model['backend']}, "
        f"{model['provider']} on {model['device']}{note}, idle {model['idle_seconds']:.0f} s"
    )


def _latency_table(latencies: Mapping[str, Mapping[str, float]]) -> list[str]:
    columns = ("mean", "p50", "p95", "p99")
    width = max(len(name) for name in latencies)
    heads = "".join(f"{column:>10}" for column in columns)
    rows = [f"  {'':{width}}{'count':>9}{heads}"]
    for name, latency in latencies.items():
        times = "".join(f"{latency[column] * 1e3:10.2f}" for column in columns)
        rows.append(f"  {name:{width}}{latency['count']:9}{times}")
    return rows


def _cache_line(name: str, cache: Mapping[str, int]) -> str:
    asked = cache["hits"] + cache["misses"]
    rate = f"{cache['hits'] / asked:.0%} of {asked} known" if asked else "not asked yet"
    return (
        f"  {name}: {cache['entries']} kept, {_mb(cache['bytes'])}, {rate}, "
        f"{cache['evictions']} put out"
    )


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"

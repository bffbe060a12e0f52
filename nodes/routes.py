"""The routes under `/fastface`: what is held and was done, and loading and unloading."""

from __future__ import annotations

from typing import Any

from ..utils import host
from ..utils.web import Reply, Route, as_json, choices_of


def _status(body: dict[str, Any]) -> Reply:
    from ..pipeline.status import status

    return as_json(status())


def _metrics(body: dict[str, Any]) -> Reply:
    from ..pipeline.exposition import as_prometheus
    from ..pipeline.status import status

    return Reply(as_prometheus(status()), "text/plain")


def _preload(body: dict[str, Any]) -> Reply:
    from ..pipeline.choices import AUTO, PRECISION_WORDS, backend_names, device_names
    from ..pipeline.lifecycle import preload

    chosen = choices_of(
        body,
        {
            "pack": _packs,
            "backend": backend_names,
            "device": device_names,
            "precision": lambda: list(PRECISION_WORDS),
        },
    )
    models = preload(chosen.pop("pack", AUTO), **chosen)
    return as_json({"loaded": [{"pack": model.pack, "task": model.task} for model in models]})


def _unload(body: dict[str, Any]) -> Reply:
    from ..pipeline.choices import AUTO
    from ..pipeline.lifecycle import loaded, unload

    names = [*_packs(), *(model.pack for model in loaded())]
    chosen = choices_of(body, {"pack": lambda: [name for name in names if name != AUTO]})
    return as_json({"released": unload(chosen.get("pack"))})


def _packs() -> list[str]:
    from ..pipeline.pack_choice import installed_pack_names

    return installed_pack_names(host.insightface_roots())


ROUTES = (
    Route("GET", "/fastface/status", _status),
    Route("GET", "/fastface/metrics", _metrics),
    Route("POST", "/fastface/preload", _preload),
    Route("POST", "/fastface/unload", _unload),
)

"""Runs every node and hands what it gave to ComfyUI's caches; a script for ComfyUI's own Python.

`python walk_outputs.py PACK PHOTO FOLDER` in a ComfyUI checkout: PACK is this pack's folder, PHOTO
a picture with faces, FOLDER one of its own for weights and results. Prints what it did as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What ComfyUI 0.33, 0.8 and other packs ask objects on wires for, and call when it is there.
PROTOCOLS = ("is_dynamic", "get_ram_usage", "get_models", "patcher", "model", "value", "__array__")
#: Values of widgets that are not the defaults.
VALUES: dict[str, dict[str, Any]] = {
    "FastFaceLoader": {"model_pack": "facenet-mtcnn", "device": "cpu"},
    "FastFaceEmbed": {"which": "all"},
    "FastFaceBenchmark": {
        "model_pack": "random:buffalo_s",
        "contestants": "onnxruntime",
        "device": "cpu",
        "det_size": 320,
        "rounds": 1,
    },
    "FastFaceBuildEngine": {"model_pack": "buffalo_s-random"},
    "FastFaceEmbeddingLoad": {"name": "my character"},
    "FastFaceGalleryAdd": {"name": "somebody"},
}
#: Nodes that read what another one keeps.
AFTER = {
    "FastFaceEmbeddingLoad": "FastFaceEmbeddingSave",
    "FastFaceGalleryEdit": "FastFaceGalleryAdd",
    "FastFaceGallerySearch": "FastFaceGalleryAdd",
}
#: Inputs that take what one certain node gives: its id, and which of its outputs.
SOURCES: dict[str, dict[str, tuple[str, int]]] = {
    "FastFacePaste": {"crops": ("FastFaceCrop", 0)},
    "FastFaceGalleryAdd": {"faces": ("FastFaceEmbed", 0)},
    "FastFaceGallerySearch": {"faces": ("FastFaceEmbed", 0)},
}
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def start_comfyui() -> Any:
    """ComfyUI's module of caches, with as much of ComfyUI as it needs, on the CPU."""
    sys.path.insert(0, str(Path.cwd()))
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import execution  # noqa: F401  it imports the caches in the order that works
    from comfy_execution import caching

    return caching


def import_fastface(pack: Path) -> dict[str, type]:
    """The pack's nodes by id."""
    spec = importlib.util.spec_from_file_location("install", pack / "install.py")
    assert spec and spec.loader
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    return install.import_pack("fastface").NODE_CLASS_MAPPINGS


def first_values(photo: Path, folder: Path) -> dict[str, Any]:
    """A value for each socket type that is there before any node ran."""
    import numpy as np
    import torch
    from PIL import Image

    from fastface.benchmark.synthetic_models.packs import make_synthetic_pack

    make_synthetic_pack("buffalo_s", folder / "packs")
    os.environ["FASTFACE_MODELS"] = str(folder / "packs")
    pixels = np.asarray(Image.open(photo).convert("RGB"), np.float32) / 255
    return {"IMAGE": torch.from_numpy(pixels)[None]}


def chosen_for(node_id: str, outputs: dict[str, list[Any]]) -> dict[str, Any]:
    """What a node's inputs are to be instead of whatever has their type; None what is to come."""
    chosen = dict(VALUES.get(node_id, {}))
    for name, (source, place) in SOURCES.get(node_id, {}).items():
        chosen[name] = outputs[source][place][0] if source in outputs else None
    return chosen


def inputs_of(node: type, values: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any] | None:
    """What the node is run with; None while something that it requires is not there yet."""
    declared = node.INPUT_TYPES()  # pyright: ignore[reportAttributeAccessIssue]
    given: dict[str, Any] = {}
    for group in ("required", "optional"):
        for name, (kind, *more) in declared.get(group, {}).items():
            options = more[0] if more else {}
            if name in chosen:
                if chosen[name] is None:
                    return None
                given[name] = chosen[name]
            elif isinstance(kind, list):
                given[name] = options.get("default", kind[0])
            elif kind in WIDGETS:
                given[name] = options["default"]
            elif str(kind) == "*":
                given[name] = values["IMAGE"]
            elif there := [each for each in kind.split(",") if each in values]:
                given[name] = values[there[0]]
            elif group == "required":
                return None
    return given


def run_every_node(nodes: dict[str, type], values: dict[str, Any]) -> dict[str, list[Any]]:
    """The outputs of every node as ComfyUI caches them: one list a socket.

    What a node gives is there for those behind it. A node that this machine can't run says so with
    the pack's own error, and gives nothing.
    """
    from fastface.utils.errors import BackendUnavailable

    outputs: dict[str, list[Any]] = {}
    waiting = dict(nodes)
    while waiting:
        ready = [
            (node_id, given)
            for node_id, node in waiting.items()
            if AFTER.get(node_id) not in waiting
            and (given := inputs_of(node, values, chosen_for(node_id, outputs))) is not None
        ]
        assert ready, f"nothing gives what {sorted(waiting)} want; there are {sorted(values)}"
        for node_id, given in ready:
            node: Any = waiting.pop(node_id)
            try:
                result = getattr(node(), node.FUNCTION)(**given)
            except BackendUnavailable:
                outputs[node_id] = []
                continue
            result = result["result"] if isinstance(result, dict) else result
            in_lists = getattr(node, "OUTPUT_IS_LIST", (False,) * len(result))
            outputs[node_id] = [
                list(value) if is_list else [value]
                for value, is_list in zip(result, in_lists, strict=True)
            ]
            for kind, value in zip(node.RETURN_TYPES, result, strict=True):
                values.setdefault(kind, value)
            if node_id == "FastFaceLoader":
                # The pack that finds the faces has no networks that describe them.
                given = given | {"model_pack": "buffalo_s-random"}
                values["FACEANALYSIS"] = node().load(**given)["result"][0]
                values["FASTFACE_FACES"] = found_by(result[0], values)
    return outputs


def found_by(detector: Any, values: dict[str, Any]) -> Any:
    """Faces that one pack found, embedded by the other."""
    from fastface.utils.images import Images

    images = Images.from_comfy(values["IMAGE"])
    faces = detector.analyze(images)
    return values["FACEANALYSIS"].describe(images, faces, ["recognition"])


def leaves(value: Any) -> Iterator[Any]:
    """Every object inside lists, tuples and mappings, these themselves included."""
    yield value
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(value, (list, tuple, dict)):
        for part in inner:
            yield from leaves(part)


def claims(value: Any) -> list[str]:
    """Which of `PROTOCOLS` an object of this pack says it has, without its class having it."""
    if not type(value).__module__.startswith("fastface"):
        return []
    own = set(dir(type(value))) | set(getattr(value, "__dict__", ()))
    return [name for name in PROTOCOLS if hasattr(value, name) and name not in own]


def walk(caching: Any, outputs: dict[str, list[Any]]) -> list[str]:
    """Does with the outputs what this ComfyUI's caches do; the names of what was walked."""
    done = ["to_hashable"]
    for sockets in outputs.values():
        for value in sockets:
            caching.to_hashable(value)
    if hasattr(caching, "all_outputs_dynamic"):
        done.append("all_outputs_dynamic")
        assert not any(
            caching.all_outputs_dynamic(sockets) for sockets in outputs.values() if sockets
        )
    if hasattr(caching, "RAMPressureCache"):
        from execution import CacheEntry

        done.append("RAMPressureCache.ram_release")
        cache = caching.RAMPressureCache(caching.CacheKeySetID)
        cache.cache = {key: CacheEntry({}, sockets) for key, sockets in outputs.items()}
        cache.used_generation = dict.fromkeys(outputs, cache.generation)
        cache.timestamps = dict.fromkeys(outputs, 0.0)
        cache.ram_release(float("inf"), free_active=True)
        assert not [key for key in cache.cache if outputs[key]], "under pressure all of it goes"
    from comfy import model_patcher

    if hasattr(model_patcher, "PromptModelTracker"):
        done.append("PromptModelTracker.add")
        tracker = model_patcher.PromptModelTracker()
        tracker.start()
        for sockets in outputs.values():
            tracker.add(sockets)
        tracker.end()
    try:
        from comfy_execution import cache_provider
    except ImportError:
        return done
    done.append("cache_provider")
    for sockets in outputs.values():
        cache_provider._estimate_value_size(cache_provider.CacheValue(outputs=sockets, ui={}))
        cache_provider._contains_self_unequal(sockets)
    return done


def main() -> None:
    pack, photo, folder = map(Path, sys.argv[1:4])
    caching = start_comfyui()
    nodes = import_fastface(pack)
    values = first_values(photo, folder)
    from fastface.utils import host

    host.models_folder = lambda: folder
    outputs = run_every_node(nodes, values)
    app = values["FACEANALYSIS"]
    reachable = [*outputs.values(), values, app.det_model, app.models]
    wrong = sorted(
        {
            f"{type(leaf).__name__}.{name}"
            for value in reachable
            for leaf in leaves(value)
            for name in claims(leaf)
        }
    )
    kinds = {type(leaf).__name__ for value in outputs.values() for leaf in leaves(value)}
    walked = walk(caching, outputs)
    empty = [node_id for node_id, sockets in outputs.items() if not sockets]
    print(  # noqa: T201
        json.dumps(
            {
                "nodes": sorted(outputs),
                "unrunnable": empty,
                "kinds": sorted(kinds),
                "wrong": wrong,
                "walked": walked,
            }
        )
    )


if __name__ == "__main__":
    main()

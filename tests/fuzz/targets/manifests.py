"""`manifest.json` of insightface 2.x packs."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import onnx

from fastface.utils.packs.find import load_pack
from fastface.utils.packs.manifest import has_manifest, read_manifest
from fastface.utils.packs.read import read_pack
from tests.fuzz.cases import Broken, Target
from tests.fuzz.odd_bytes import damaged
from tests.fuzz.odd_values import changed_json
from tests.fuzz.targets.graphs import sound_graphs

_SOUND: dict[str, Any] = {
    "manifest_version": 2,
    "model_id": "small",
    "display_name": "A small pack",
    "license": "MODEL.LICENSE",
    "tasks": {
        "detection": {"file": "detector.onnx", "preprocessing": {"mean": 127.5, "std": 128.0}},
        "recognition": {
            "file": "recogniser.onnx",
            "input_size": [112, 112],
            "embedding_dimension": 16,
            "preprocessing": "embedded",
            "preprocessing_version": "1",
            "sha256": "0" * 64,
        },
        "verification": {"file": "verifier.onnx", "expansion": 1.3},
    },
}


_PATHS = (
    "../outside.onnx", "/etc/passwd", "detector.onnx", "a/../../b.onnx", "x" * 300 + ".onnx",
)  # fmt: skip


class Manifests(Target):
    about = "packs whose manifest is damaged, or says odd things"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pack = folder / "packs" / "small"
        self._pack.mkdir(parents=True)
        for name, graph in zip(("detector", "recogniser"), sound_graphs().values(), strict=True):
            onnx.save(graph[0], str(self._pack / f"{name}.onnx"))
        shutil.copy(self._pack / "recogniser.onnx", self._pack / "verifier.onnx")

    def run(self, chance: random.Random) -> None:
        document: Any = copy.deepcopy(_SOUND)
        for _ in range(chance.randint(1, 3)):
            document = changed_json(document, chance, _PATHS)
        text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
        content = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.3:
            content = damaged(content, chance)
        (self._pack / "manifest.json").write_bytes(content)
        is_manifest = has_manifest(self._pack)
        manifest = read_manifest(self._pack)
        if (manifest is not None) != is_manifest:
            raise Broken(f"has_manifest says {is_manifest}, read_manifest gives {manifest}")
        for model in manifest.models if manifest else ():
            if not model.path.is_relative_to(self._pack.resolve()):
                raise Broken(f"{model.path} lies outside the pack")
        pack = read_pack("small", self._pack)
        _ = pack.tasks, pack.licence, pack.origin
        load_pack("small", [self._pack.parent])

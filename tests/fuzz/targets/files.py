"""Other files that are read: pictures, the benchmark's history, notes beside a part, yaml."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import random
from typing import Any

import numpy as np
from PIL import Image

from fastface.benchmark.history import remember
from fastface.utils.download.transfer import _Origin, _read_note
from fastface.utils.host.extra_paths import _defaults_in
from fastface.utils.pictures import read_picture
from tests.fuzz.cases import Broken, Target
from tests.fuzz.odd_bytes import damaged
from tests.fuzz.odd_values import changed_json

_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "TGA", "ICO", "JPEG2000")
_FIGURES = {"median": 0.1, "q25": 0.09, "q75": 0.11, "p95": 0.12}
_ROW = {
    "state": "measured",
    "label": "onnxruntime cpu fp32",
    "against": "insightface",
    "seconds": _FIGURES,
    "times_as_fast": {"median": 2.0, "q25": 1.9, "q75": 2.1},
}
_RESULT: dict[str, Any] = {
    "schema": 1,
    "made": "2026-01-01T00:00:00+00:00",
    "machine": {"cpu": "a cpu", "cores": 2, "gpus": ["a card"]},
    "weights": {"name": "small"},
    "settings": {"rounds": 5, "det_size": 320},
    "cases": [{"job": "detect", "batch": 1, "image_size_hw": [480, 640], "rows": [_ROW]}],
}
_NOTE = {"url": "https://here/pack.zip", "validator": '"abc"', "total_bytes": 5}
_PATHS = {
    "comfyui": {"base_path": "/here", "is_default": True, "insightface": "models/a\nmodels/b"},
    "other": {"base_path": "~/there", "insightface": "c"},
}


class Files(Target):
    about = "damaged pictures, histories, notes of downloads and extra_model_paths.yaml"

    def run(self, chance: random.Random) -> None:
        parts = [self._picture, self._history, self._note]
        if importlib.util.find_spec("yaml"):  # ComfyUI brings it, this pack does not need it
            parts.append(self._extra_paths)
        chance.choice(parts)(chance)

    def _picture(self, chance: random.Random) -> None:
        numbers = np.random.default_rng(chance.getrandbits(32))
        pixels = numbers.integers(0, 256, (12, 10, 3), dtype=np.uint8)
        kind, content = chance.choice(_FORMATS), io.BytesIO()
        picture = Image.fromarray(pixels)
        if kind in ("PNG", "TIFF") and chance.random() < 0.5:
            picture = Image.fromarray(pixels[..., 0].astype(chance.choice((np.uint16, np.uint8))))
        picture.save(content, kind)
        path = self.folder / "picture"
        path.write_bytes(damaged(content.getvalue(), chance))
        read = read_picture(path)
        if read.dtype != np.uint8 or read.shape[2:] != (3,):
            raise Broken(f"a picture of {read.dtype} and shape {read.shape}")

    def _history(self, chance: random.Random) -> None:
        lines = [self._json(_RESULT, chance) for _ in range(chance.randint(1, 3))]
        path = self.folder / "benchmarks.jsonl"
        path.write_bytes(b"\n".join(lines) + chance.choice((b"", b"\n")))
        result = copy.deepcopy(_RESULT)
        remember(result, path)
        remembered = path.read_bytes().split(b"\n")[-2]
        if json.loads(remembered)["cases"] != _RESULT["cases"]:
            raise Broken(f"the run is remembered as {remembered[:200]!r}")

    def _note(self, chance: random.Random) -> None:
        path = self.folder / "pack.zip.part.json"
        path.write_bytes(self._json(_NOTE, chance))
        note = _read_note(path)
        if note is not None and not isinstance(note, _Origin):
            raise Broken(f"a note is {note!r}")

    def _extra_paths(self, chance: random.Random) -> None:
        import yaml

        document = copy.deepcopy(_PATHS)
        for _ in range(chance.randint(1, 3)):
            document = changed_json(document, chance)
        content = yaml.dump(document, allow_unicode=chance.random() < 0.5).encode(
            "utf-8", "replace"
        )
        path = self.folder / "extra_model_paths.yaml"
        path.write_bytes(damaged(content, chance) if chance.random() < 0.3 else content)
        _defaults_in.cache_clear()
        for kind, folder in _defaults_in(path, 0, 0):
            if not isinstance(kind, str) or not isinstance(folder, str):
                raise Broken(f"an entry is {kind!r}: {folder!r}")

    @staticmethod
    def _json(document: Any, chance: random.Random) -> bytes:
        document = copy.deepcopy(document)
        for _ in range(chance.randint(0, 3)):
            document = changed_json(document, chance)
        content = json.dumps(document).encode()
        return damaged(content, chance) if chance.random() < 0.3 else content

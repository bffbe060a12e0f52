"""The drop-in object, called as consumers of InsightFace call it, with odd images and sizes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.face import Face
from fastface.pipeline.insightface_compat.result_cache import forget_results
from tests.fuzz.cases import Broken, Target
from tests.fuzz.odd_values import odd_array, odd_number, odd_value
from tests.fuzz.small_pack import small_face_analysis, write_small_pack
from tests.fuzz.targets.graphs import available_backends

_SIDES = (0, 1, 2, 5, 10, 20, 31, 32, 33, 64, 80, 96, 100.5, -1, -64, 1 << 20, 1 << 40)


class Calls(Target):
    about = "the drop-in object, with odd images, sizes, thresholds and faces"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pack = write_small_pack(folder / "small")
        self._apps = {name: small_face_analysis(pack, name) for name in set(available_backends())}
        numbers = np.random.default_rng(0)
        self._image = numbers.integers(0, 256, (64, 96, 3), dtype=np.uint8)

    def run(self, chance: random.Random) -> None:
        app = self._apps[chance.choice(sorted(self._apps))]
        app.prepare(ctx_id=0, det_thresh=0.6, det_size=(64, 64))
        app.det_model.nms_thresh = 0.4
        forget_results()
        image = odd_array(chance) if chance.random() < 0.6 else self._image
        call = chance.choice((_get, _get, _sizes, _thresholds, _detect, _head, _crops, _draw))
        call(app, image, chance)


def _size(chance: random.Random) -> Any:
    pair: Any = (chance.choice(_SIDES), chance.choice(_SIDES))
    kind = chance.randrange(8)
    if kind == 0:
        return np.array(pair)
    if kind == 1:
        return [pair, (64, 64)]
    if kind == 2:
        return odd_value(chance)
    return [*pair] if kind == 3 else pair


def _check(faces: list[Face]) -> None:
    for face in faces:
        for name in ("bbox", "kps", "embedding", "landmark_2d_106", "landmark_3d_68"):
            value = face[name]
            if not isinstance(value, np.ndarray) or value.dtype != np.float32:
                raise Broken(f"{name} is {value!r}")
        if not isinstance(face.age, int) or face.gender not in (0, 1):
            raise Broken(f"age {face.age!r}, gender {face.gender!r}")


def _get(app: FaceAnalysis, image: Any, chance: random.Random) -> None:
    _check(app.get(image))


def _sizes(app: FaceAnalysis, image: Any, chance: random.Random) -> None:
    size = _size(chance)
    way = chance.randrange(4)
    if way == 0:
        app.prepare(ctx_id=0, det_size=size)
    elif way == 1:
        app.det_model.input_size = size
    elif way == 2:
        app.det_size = size
    _check(app.get(image, det_size=size) if way == 3 else app.get(image))


def _thresholds(app: FaceAnalysis, image: Any, chance: random.Random) -> None:
    name = chance.choice(("det_thresh", "nms_thresh"))
    setattr(app.det_model, name, odd_number(chance) if chance.random() < 0.8 else odd_value(chance))
    app.get(image, max_num=chance.choice((0, 1, -1, 2.5, None, "1", 1 << 70)))


def _detect(app: FaceAnalysis, image: Any, chance: random.Random) -> None:
    size = None if chance.random() < 0.5 else _size(chance)
    metric = chance.choice(("default", "max", None, [], 7))
    boxes, points = app.det_model.detect(image, size, chance.choice((0, 1)), metric)  # type: ignore[arg-type]
    if boxes.shape[1:] != (5,) or points is None or points.shape[1:] != (5, 2):
        raise Broken(f"detect gave {boxes.shape}, {getattr(points, 'shape', None)}")


def _head(app: FaceAnalysis, image: Any, chance: random.Random) -> None:
    task = chance.choice([task for task in app.models if task != "detection"])
    box = np.array([chance.choice((0, 10, 40, -50, 1e30, np.nan, 95.5)) for _ in range(4)])
    if chance.random() < 0.5:
        box = np.array([10, 10, 60, 60])
    points = np.random.default_rng(chance.getrandbits(32)).uniform(10, 60, (5, 2))
    if chance.random() < 0.4:
        points *= chance.choice((0.0, 1e30, np.nan, -1.0))
    face = Face(bbox=box.astype(np.float32), kps=points.astype(np.float32), det_score=0.9)
    if chance.random() < 0.2:
        face[chance.choice(("bbox", "kps"))] = odd_value(chance)
    app.models[task].get(image, face)


def _crops(app: FaceAnalysis, image: Any, chance: random.Random) -> None:
    model = app.models["recognition"]
    features = model.get_feat(chance.choice((image, [image], [image, image], [])))
    if len(features):
        model.compute_sim(features[0], features[-1])


def _draw(app: FaceAnalysis, image: Any, chance: random.Random) -> None:
    app.draw_on(image, app.get(image))

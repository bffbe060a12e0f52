"""Networks: every backend opens damaged ones and runs what opens."""

from __future__ import annotations

import os
import random
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.utils import host
from fastface.utils.packs.graph_header import read_graph_header
from fastface.utils.packs.read import read_pack
from tests.backends.onnx_graphs.small_graphs import detector, embedder
from tests.contract.random_heads import write_random_heads
from tests.fuzz.cases import Broken, Target
from tests.fuzz.odd_bytes import damaged
from tests.fuzz.odd_graphs import mutated

#: The real weights of the test data, which are used where there are any.
_DETECTORS, _RECOGNISERS = "detector", "recogniser"
_REAL = {
    "models/scrfd_2.5g_bnkps.onnx": _DETECTORS,
    "detectors/yunet_n_dynamic.onnx": _DETECTORS,
    "detectors/retinaface_mobilenet025.onnx": _DETECTORS,
    "models/mobilefacenet.onnx": _RECOGNISERS,
}
#: What each is worth to this: how often it is tried.
_BACKENDS = {"onnxruntime": 6, "torch": 6, "openvino": 2, "insightface": 2}
#: Noise has faces only for a detector that takes everything for one.
_THRESHOLD = 1e-3


@lru_cache(maxsize=1)
def sound_graphs() -> dict[str, list[Any]]:
    """Networks without a fault, small ones and those of the test data, by what they are for."""
    graphs: dict[str, list[Any]] = {
        _DETECTORS: [
            detector(),
            detector(rank=3, leading=1),
            detector(size_hw=(64, 96), shape_as_node=True),
            detector(outputs=6),
        ],
        _RECOGNISERS: [embedder("flatten"), embedder("batch_norm"), embedder("reshape_baked")],
    }
    data = os.environ.get("FASTFACE_TEST_DATA")
    for name, kind in _REAL.items():
        if data and (path := Path(data) / name).is_file():
            graphs[kind].append(onnx.load(str(path)))
    return graphs


def write_odd_pack(folder: Path, graphs: dict[str, list[Any]], chance: random.Random) -> None:
    """Writes a pack, in place of what is there, of which one network is damaged.

    Args:
        folder: Of the pack.
        graphs: From `sound_graphs`, and others by the names of their files.
        chance: Decides which and how.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kind = chance.choice((_DETECTORS, *sorted(graphs)))
    for other in (_DETECTORS, _RECOGNISERS):
        if other != kind:
            onnx.save(graphs[other][0], str(folder / f"{other}.onnx"))
    victim = chance.choice(graphs[kind])
    if chance.random() < 0.15:
        content = damaged(victim.SerializeToString(), chance)
    else:
        content = mutated(victim, chance)
    (folder / f"{kind}.onnx").write_bytes(content)
    # What an external weight may name.
    (folder / "weights.data").write_bytes(b"\0" * 4096)


def forget_graphs() -> None:
    """What was made of a case's files is of no use to the next, and would fill the disk."""
    for folder in ("graphs", "weights"):
        shutil.rmtree(host.cache_folder() / folder, ignore_errors=True)


def available_backends() -> tuple[str, ...]:
    """Those of `_BACKENDS` that can run here, as often as each is to be tried."""
    there = [name for name in _BACKENDS if get_backend(name).why_unavailable() is None]
    return tuple(name for name in there for _ in range(_BACKENDS[name]))


class Graphs(Target):
    about = "damaged networks, opened and run by every backend"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._heads = folder / "heads"
        self._heads.mkdir()
        write_random_heads(self._heads)
        self._graphs = dict(sound_graphs())
        self._graphs["head"] = [onnx.load(str(path)) for path in sorted(self._heads.glob("*.onnx"))]
        self._backends = available_backends()

    def run(self, chance: random.Random) -> None:
        pack_folder = self.folder / "pack"
        write_odd_pack(pack_folder, self._graphs, chance)
        try:
            self._use(pack_folder, chance)
        finally:
            forget_results()
            forget_graphs()

    def _use(self, pack_folder: Path, chance: random.Random) -> None:
        read_graph_header(next(iter(sorted(pack_folder.glob("*.onnx")))))
        pack = read_pack("pack", pack_folder)
        backend = get_backend(chance.choice(self._backends))
        analyzer = Analyzer(pack, backend, Placement())
        sizes = chance.choice((((64, 64),), ((96, 64),), ((64, 64), (128, 128))))
        app = FaceAnalysis(analyzer, DetectionOptions(sizes, _THRESHOLD), max_faces=3)
        numbers = np.random.default_rng(chance.getrandbits(32))
        image = numbers.integers(0, 256, (80, 120, 3), dtype=np.uint8)
        faces = app.get(image)
        for face in faces:
            for name, value in face.items():
                if isinstance(value, np.ndarray) and value.dtype == object:
                    raise Broken(f"{name} is an array of objects: {value!r}")
        boxes, landmarks = app.det_model.detect(image)
        if boxes.shape[1:] != (5,) or (landmarks is not None and landmarks.shape[1:] != (5, 2)):
            raise Broken(f"detect gave shapes {boxes.shape} and {np.shape(landmarks)}")

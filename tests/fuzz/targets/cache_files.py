"""What the pack keeps on disk and reads again: made of graphs, engines, saved identities."""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path

import numpy as np
import torch

from fastface.backends.onnx_graphs import graph_cache
from fastface.backends.trt.engines import EngineKey, EngineStore
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.utils.checksummed_file import DamagedFile
from fastface.utils.embedding import Embedding
from fastface.utils.embedding_file import load_embedding, save_embedding
from tests.fuzz.cases import Broken, Target
from tests.fuzz.odd_bytes import damaged
from tests.fuzz.small_pack import small_face_analysis, write_small_pack
from tests.fuzz.targets.graphs import available_backends

_ENGINE = bytes(range(256)) * 40
_KEY = EngineKey(
    model="det.onnx",
    content="0" * 64,
    task="detection",
    precision="fp16",
    graph="1",
    shapes=((1, 3, 64, 64), (1, 3, 64, 64), (2, 3, 64, 64)),
    takes_batches=True,
    library="tensorrt 11.4",
    device="a card",
)
_FACTS = {"largest_difference": 0.001, "fits": True}


class CacheFiles(Target):
    about = "damaged files of the graph cache, of engines, and saved identities"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pack = write_small_pack(folder / "small")
        numbers = np.random.default_rng(0)
        self._image = numbers.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        self._backends = sorted({"onnxruntime", "torch"} & set(available_backends()))
        self._answers = {name: self._ask(name) for name in self._backends}
        self._kept = folder / "kept"
        shutil.copytree(graph_cache.graph_cache().folder, self._kept)

    def run(self, chance: random.Random) -> None:
        chance.choice((self._graphs, self._graphs, self._engines, self._identities))(chance)

    def _ask(self, backend: str) -> list[np.ndarray]:
        """Boxes and embeddings of one image, by models that are opened anew."""
        forget_results()
        faces = small_face_analysis(self._pack, backend).get(self._image)
        return [value for face in faces for value in (face.bbox, face.embedding)]

    def _graphs(self, chance: random.Random) -> None:
        folder = graph_cache.graph_cache().folder
        shutil.rmtree(folder)
        shutil.copytree(self._kept, folder)
        files = sorted(path for path in folder.iterdir() if path.is_file())
        for path in chance.sample(files, chance.randint(1, 3)):
            _harm(path, files, chance)
        # As at the next start: what this process knows of the files is forgotten.
        graph_cache._caches.clear()
        backend = chance.choice(self._backends)
        answers = self._ask(backend)
        same = len(answers) == len(self._answers[backend]) and all(
            np.allclose(got, want, rtol=1e-3, atol=1e-3)
            for got, want in zip(answers, self._answers[backend], strict=True)
        )
        if not same:
            raise Broken(f"{backend} gives other answers from damaged files")

    def _engines(self, chance: random.Random) -> None:
        folder = self.folder / "engines"
        shutil.rmtree(folder, ignore_errors=True)
        store = EngineStore(folder)
        store.save(_KEY, _ENGINE, _FACTS)
        store.save_timings("library", "device", b"timings")
        files = sorted(folder.iterdir())
        for path in chance.sample(files, chance.randint(1, len(files))):
            _harm(path, files, chance)
        for _ in store.listed():
            pass
        if store.timings("library", "device") not in (b"", b"timings"):
            raise Broken("timings are not what was written")
        if store.facts(_KEY) not in (
            {},
            {**_FACTS, "engine_sha256": store.facts(_KEY).get("engine_sha256")},
        ):
            raise Broken(f"facts are not what was written: {store.facts(_KEY)}")
        store.is_whole(_KEY)
        with contextlib.suppress(DamagedFile):
            if store.load(_KEY) != _ENGINE:
                raise Broken("an engine is not what was written")

    def _identities(self, chance: random.Random) -> None:
        path = self.folder / "identity.safetensors"
        if path.is_dir():
            path.rmdir()
        save_embedding(path, Embedding(torch.ones(1, 16), "space@0"), {"pack": "small"})
        _harm(path, [path], chance)
        load_embedding(path)


def _harm(path: Path, others: list[Path], chance: random.Random) -> None:
    """Damages, removes or replaces a file."""
    change = chance.randrange(9)
    if not path.is_file():
        return
    if change == 0:
        path.unlink()
    elif change == 1:
        path.unlink()
        path.mkdir()
    elif change == 2:
        path.write_bytes(b"")
    elif change == 3:
        other = chance.choice(others)
        if other.is_file():
            path.write_bytes(other.read_bytes())
    elif change == 4:
        path.unlink()
        with contextlib.suppress(OSError):  # Windows lets few users make links
            path.symlink_to(chance.choice(("/etc/passwd", "nowhere", path.name)))
    else:
        path.write_bytes(damaged(path.read_bytes(), chance))

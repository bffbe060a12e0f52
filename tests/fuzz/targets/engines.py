"""Engine building: damaged networks, by TensorRT-RTX where it is installed, or a stand-in."""

from __future__ import annotations

import importlib.util
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastface.backends.trt.engines import EngineStore
from fastface.backends.trt.library import TENSORRT_RTX
from fastface.backends.trt.profile import Profile, Span
from fastface.pipeline.engine_building import BuildRequest, build_pack, listing, summary
from fastface.utils.images import Images
from fastface.utils.packs.read import read_pack
from tests.backends.trt.on_stub import GEFORCE, put_in_place
from tests.backends.trt.stub import TENSORRT_11, StubModule
from tests.fuzz.cases import Target
from tests.fuzz.targets.graphs import forget_graphs, sound_graphs, write_odd_pack

_PROFILE = Profile(Span(1, 2, 2), Span(64, 64, 128))


class Engines(Target):
    about = "engines built of damaged networks, and held against the reference"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._patches = pytest.MonkeyPatch()
        if importlib.util.find_spec(TENSORRT_RTX) is None:
            put_in_place(self._patches, [StubModule(TENSORRT_11)], GEFORCE)
        numbers = np.random.default_rng(0)
        noise = numbers.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        self._images = Images.from_bgr(noise)

    def run(self, chance: random.Random) -> None:
        pack_folder, engines = self.folder / "pack", self.folder / "engines"
        write_odd_pack(pack_folder, sound_graphs(), chance)
        shutil.rmtree(engines, ignore_errors=True)
        wish = BuildRequest(chance.choice(("fp32", "fp16", "mixed")), _PROFILE, images=self._images)
        store = EngineStore(engines)
        try:
            pack = read_pack("pack", pack_folder)
            summary(pack, build_pack(pack, wish, lambda done, total: None, store))
            listing(store)
        finally:
            forget_graphs()

    def close(self) -> None:
        self._patches.undo()

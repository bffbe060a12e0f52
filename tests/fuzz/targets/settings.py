"""Settings: environment variables with any text in them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastface.pipeline.choices import backend_names, device_names
from fastface.pipeline.insightface_compat.result_cache import CACHES
from fastface.pipeline.loading import load_face_analysis
from fastface.pipeline.pack_choice import installed_pack_names
from fastface.pipeline.status import as_text, status
from fastface.utils import cores
from fastface.utils.settings import settings
from fastface.utils.settings.fields import VARIABLES
from fastface.utils.settings.variables import PREFIX
from tests.fuzz.cases import Target
from tests.fuzz.odd_values import odd_text
from tests.fuzz.small_pack import without_cheap_instructions, write_small_pack

_TELLING = (
    "0", "1", "2", "-1", "3.5", "1e3", "true", "off", "64MB", "1,5GB", "64MB x", "1 GiB",
    "99999999TB",
    "standard", "low-memory", "cpu", "onnxruntime", "torch,nothing", "detection,recognition", "640",
    "641", "idle", "batch", "auto", "9" * 400,
)  # fmt: skip


class Environment(Target):
    about = "environment variables with any text, and what uses them"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        write_small_pack(folder / "packs" / "small")
        self._features, cores.cpu_features = cores.cpu_features, without_cheap_instructions

    def close(self) -> None:
        cores.cpu_features = self._features

    def run(self, chance: random.Random) -> None:
        chosen = chance.sample(VARIABLES, chance.choice((1, 1, 2, 3)))
        values = {
            name: chance.choice(_TELLING) if chance.random() < 0.6 else odd_text(chance)
            for name in chosen
        }
        # What no environment can hold.
        values = {name: text.replace("\0", "") for name, text in values.items()}
        values = {name: text.encode("utf-8", "replace").decode() for name, text in values.items()}
        with _environment({f"{PREFIX}MODELS": str(self.folder / "packs"), **values}):
            # What must go on whatever the variables say.
            as_text(status())
            backend_names(), device_names(), installed_pack_names(())
            for cache in CACHES:
                cache.clear()
                cache.status()
            # What may be refused.
            settings()
            load_face_analysis(model_pack="small", device="cpu")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""Implementations that a benchmark must see through, written as those of the package are."""

import os
import sys
import time

import numpy as np

from ...backends.registry import all_backends
from ...utils.parity import found
from ..implementation import Implementation
from ..ours import OurContestant


class _Changed(OurContestant):
    """onnxruntime, whose answers are changed on their way."""

    is_ours = False

    def __init__(self):
        super().__init__(all_backends()["onnxruntime"])
        self.name = type(self).__name__.lower()

    def open(self, setting):
        opened = super().open(setting)
        find = opened.find
        opened.find = lambda material, embed: [self.changed(one) for one in find(material, embed)]
        return opened


class Shifted(_Changed):
    def changed(self, one):
        return {**one, "boxes": one["boxes"] + np.float32(3)}


class Scaled(_Changed):
    def changed(self, one):
        return {**one, "embeddings": one["embeddings"] * np.float32(1.1)}


class Turned(_Changed):
    """Embeddings of the right length in a wrong direction."""

    def changed(self, one):
        return {**one, "embeddings": np.roll(one["embeddings"], 1, axis=1)}


class _Alone(Implementation):
    def __init__(self):
        self.name = type(self).__name__.lower()

    def why_unavailable(self) -> str | None:
        return None

    def devices(self):
        return ("cpu",)

    def own_weights(self):
        return self.name

    def why_unsupported(self, job, pack):
        return None

    def open(self, setting):
        return self

    def runs_on(self):
        return {}

    def call(self, material):
        return lambda: None

    def forget(self):
        pass

    def find(self, material, embed):
        return [found(np.zeros((0, 4)), np.zeros(0)) for _ in range(len(material))]


class Failing(_Alone):
    def open(self, setting):
        raise ValueError("broken on purpose")


class Dying(_Alone):
    def call(self, material):
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)


class DyingLater(_Alone):
    def call(self, material):
        started = time.monotonic()
        return lambda: os._exit(8) if time.monotonic() - started > 0.2 else None


class Missing(_Alone):
    def why_unavailable(self) -> str | None:
        return "not here; run `pip install it`"


class Slow(_Alone):
    def call(self, material):
        print("on stdout, where answers go", flush=True)
        return lambda: time.sleep(float(os.environ.get("SECONDS_OF_SLOW", "0.005")))

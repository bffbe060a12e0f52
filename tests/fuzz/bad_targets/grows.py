"""Takes memory: more than its input is worth, then more than there may be."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz.cases import MOST_GROWTH_BYTES, Target
from tests.fuzz.worker import MOST_DATA_BYTES


class Grows(Target):
    about = "memory for nothing"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._sizes = [MOST_GROWTH_BYTES + (1 << 28), MOST_DATA_BYTES, 1]

    def run(self, chance: random.Random) -> None:
        bytearray(self._sizes.pop(0))

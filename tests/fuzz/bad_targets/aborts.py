"""Takes its process with it in the third case of each."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.fuzz.cases import Target


class Aborts(Target):
    about = "the end of the process"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._cases = 0

    def run(self, chance: random.Random) -> None:
        print("what a target prints is not taken for what its process says")  # noqa: T201
        self._cases += 1
        if self._cases == 3:
            os.abort()

"""Never ends its second case."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from tests.fuzz.cases import Target


class Hangs(Target):
    about = "a case without an end"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._cases = 0

    def run(self, chance: random.Random) -> None:
        self._cases += 1
        if self._cases == 2:
            threading.Event().wait()

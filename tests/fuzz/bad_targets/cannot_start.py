"""Can't be made."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz.cases import Target


class CannotStart(Target):
    about = "nothing"

    def __init__(self, folder: Path) -> None:
        raise OSError("there is no place for it")

    def run(self, chance: random.Random) -> None:
        raise NotImplementedError

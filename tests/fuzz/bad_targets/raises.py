"""Raises a bare error in every third case."""

from __future__ import annotations

import random
from pathlib import Path

from fastface.utils.errors import FastFaceError
from tests.fuzz.cases import Target


class Raises(Target):
    about = "bare errors between others"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._cases = 0

    def run(self, chance: random.Random) -> None:
        self._cases += 1
        if self._cases % 3 == 0:
            raise KeyError("a bare one")
        if self._cases % 3 == 1:
            raise FastFaceError("as it should be")

"""Looks where it is: in a home of its own, without the user's settings."""

from __future__ import annotations

import os
import random
from pathlib import Path

from fastface.utils import host
from tests.fuzz.cases import Broken, Target


class Touches(Target):
    about = "what it could touch"

    def run(self, chance: random.Random) -> None:
        home = self.folder.parent
        for path in (Path.home(), Path.cwd(), host.cache_folder()):
            if not path.is_relative_to(home):
                raise Broken(f"{path} is not in {home}")
        if "FASTFACE_MODELS" in os.environ:
            raise Broken("the user's settings are seen")

"""Aborts once its cases are done, as libraries do that have threads."""

from __future__ import annotations

import atexit
import os
import random

from tests.fuzz.cases import Target


class EndsBadly(Target):
    about = "the exit of the process"

    def run(self, chance: random.Random) -> None:
        atexit.unregister(os.abort)
        atexit.register(os.abort)

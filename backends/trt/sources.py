"""What an engine is built of: the pack's graph, batch axis added, in the wanted precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_sha256
from ..graphs.prepared import VERSION as PREPARATION
from ..graphs.prepared import prepared_graph
from .engines import EngineKey, EngineStore
from .fitness import FIT, Fitness
from .half import CONVERSION, half_graph
from .library import Card, Library
from .profile import Profile

#: Precisions that engines are built in.
PRECISIONS = ("fp32", "fp16")

"""One small contest that the tests of its outcome share: random weights, real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.benchmark.plan import Options
from fastface.benchmark.runner import run_benchmark
from fastface.benchmark.synthetic_models.packs import make_synthetic_pack
from fastface.benchmark.weights import Weights, choose_weights

ODD = Path(__file__).parent / "odd_implementations.py"
ROUNDS = 5


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A picture with enough in it for random weights to tell its parts apart."""
    chance = np.random.default_rng(0)
    small = chance.integers(0, 256, (20, 30, 3), np.uint8)
    return np.ascontiguousarray(np.kron(small, np.ones((16, 16, 1), np.uint8)))


@pytest.fixture(scope="session")
def stand_in_packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the stand-ins for buffalo_s and antelopev2."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("stand-ins")
    return {name: make_synthetic_pack(name, folder) for name in ("buffalo_s", "antelopev2")}


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("stand_ins")
    return choose_weights("random:buffalo_s", synthetic_folder=folder)


@pytest.fixture(scope="session")
def odd_result(photo: np.ndarray, random_weights: Weights) -> dict[str, Any]:
    """Right, wrong, broken and missing contestants in one contest."""
    names = ("onnxruntime", "facenet", "shifted", "scaled", "turned", "failing", "dying")
    more = ("dyinglater", "missing", "insightface", "slow")
    options = Options(
        jobs=("embed",),
        contestants=(*names, *more),
        devices=("cpu",),
        rounds=ROUNDS,
        det_size=320,
        contestant_files=(ODD,),
    )
    return run_benchmark(options, [photo], random_weights, command="a test")


@pytest.fixture(scope="session")
def odd_rows(odd_result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of the only case, by contestant."""
    (case,) = odd_result["cases"]
    return {row["contestant"]: row for row in case["rows"]}

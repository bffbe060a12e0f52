"""Nothing grows while faces are analysed: `benchmarks/soak.py`, so short that a suite can bear it.

What it takes hundreds of thousands of calls to see, such as a few bytes a call outside of Python,
that command shows.
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "soak.py"
_CALLS = 300
#: While 160 calls are made. Kernels and allocators that still warm up take 3 to 6; a picture of
#: 100 kB left behind by each takes more, and objects are counted below.
_MOST_GROWTH_MB = 16.0
#: Counts of lists and tuples in caches go up and down by a few dozen.
_MOST_OBJECTS = 100


@pytest.fixture(scope="module")
def soak() -> Any:
    spec = importlib.util.spec_from_file_location("fastface_soak", _SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "facenet-mtcnn"])
def test_nothing_grows(soak: Any, test_data: Path, backend: str) -> None:
    pytest.importorskip({"facenet-mtcnn": "facenet_pytorch"}.get(backend, backend))
    options = Namespace(
        pack=test_data / "models",
        photos=[test_data / "images" / "Stallone.jpg"],
        calls=_CALLS,
        batches=_CALLS // 20,
        looks=10,
        keep=10,  # so that the caches are full by then
    )
    result = soak.in_a_process(backend, options)
    assert result["faces of calls"] > _CALLS / 4
    assert result["faces of batches"] > 0
    assert result["hits of detections"] == 0
    half, *_, last = result["samples"][4:]
    assert last.descriptors <= half.descriptors
    assert last.threads <= half.threads
    assert last.objects - half.objects < _MOST_OBJECTS
    assert (last.rss - half.rss) / soak.MB < _MOST_GROWTH_MB

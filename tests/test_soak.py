"""Nothing grows while faces are analysed: `benchmarks/soak.py`, so short that a suite can bear it.

What it takes hundreds of thousands of calls to see, such as a few bytes a call outside of Python,
that command shows.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

_ROOT = Path(__file__).resolve().parent.parent
_CALLS = 300
#: While 160 calls are made. Kernels and allocators that still warm up take 3 to 6; a picture of
#: 100 kB left behind by each takes more, and objects are counted below.
_MOST_GROWTH_MB = 16.0
#: Counts of lists and tuples in caches go up and down by a few dozen.
_MOST_OBJECTS = 100


def loaded() -> Any:
    """`benchmarks/soak.py` as a module."""
    spec = importlib.util.spec_from_file_location("fastface_soak", _ROOT / "benchmarks" / "soak.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def soak() -> Any:
    return loaded()


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
    assert (last.used - half.used) / soak.MB < _MOST_GROWTH_MB


def leak(calls: int) -> float:
    return 200 * calls


def step(calls: int) -> float:
    """Of malloc's heap, which lacks a hole that is large enough."""
    return 2e6 if calls > 35_000 else 0.0


@pytest.mark.parametrize(
    ("growth", "said"),
    [
        ({}, []),
        ({"rss": leak}, []),
        ({"rss": step, "anonymous": step}, []),
        ({"rss": leak, "anonymous": leak}, ["anonymous"]),
        ({"used": leak}, ["in use"]),
        ({"used": lambda calls: 1.7e5 * (calls > 43_000)}, []),  # as seen with facenet-pytorch
        ({"objects": lambda calls: 0.2 * calls}, ["objects"]),
        ({"descriptors": lambda calls: calls // 10_000}, ["descriptors"]),
        ({"threads": lambda calls: calls // 10_000}, ["threads"]),
    ],
)
def test_what_grows_is_told(
    soak: Any, growth: dict[str, Callable[[int], float]], said: list[str]
) -> None:
    random = np.random.default_rng(0)
    levels = {"rss": 8e8, "anonymous": 5e8, "used": 4.8e8, "objects": 3e5}
    noises = {"rss": 2e3, "anonymous": 2e3, "used": 2e3, "objects": 20}
    levels |= {"descriptors": 4, "threads": 3}
    samples = [
        soak.Sample(
            calls=calls,
            seconds=calls / 50,
            **{
                name: int(
                    level
                    + random.normal(0, noises.get(name, 0))
                    + growth.get(name, lambda _: 0)(calls)
                )
                for name, level in levels.items()
            },
        )
        for calls in range(250, 50_001, 250)
    ]
    assert [each.partition(":")[0] for each in soak.faults(samples)] == said


@pytest.mark.parametrize("often", [1.0, 0.3, 0.1])
def test_intervals_hold_what_grows_in_steps(soak: Any, often: float) -> None:
    """Steps of any size, up and down by 0 in the mean, with 50 bytes a call beneath them."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(500):
        steps = random.normal(0, 1e5, 200) * (random.random(200) < often)
        levels = 5e8 + np.cumsum(steps) + np.arange(200) * 100 * 50
        samples = [
            soak.Sample(100 * (number + 1), 0.0, 0, 0, int(level), 4, 3, 0)
            for number, level in enumerate(levels)
        ]
        found = soak.growth(samples, "used")
        held += abs(found.value - 50) <= found.half
    assert held >= 0.92 * 500


def print_what_malloc_keeps() -> None:
    """Prints megabytes: in use with 30 more, then anonymous and in use with most of these freed."""
    library, process, soak = ctypes.CDLL(None), psutil.Process(), loaded()
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    def used() -> float:
        return (soak.anonymous_bytes(process) - soak.bytes_kept_free()) / soak.MB

    before, anonymous = used(), soak.anonymous_bytes(process)
    pieces = [library.malloc(10_000) for _ in range(3000)]
    for piece in pieces:
        ctypes.memset(piece, 1, 10_000)
    allocated = used() - before
    # One of a hundred lives on, so that its neighbours' memory stays with malloc.
    for number, piece in enumerate(pieces):
        if number % 100:
            library.free(piece)
    kept = (soak.anonymous_bytes(process) - anonymous) / soak.MB
    sys.stdout.write(f"{allocated} {kept} {used() - before}")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems tell less")
def test_memory_in_use_leaves_out_what_malloc_keeps_free() -> None:
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("this malloc is not glibc's")
    # A process of its own: in one that ran other tests, their threads allocate and free meanwhile.
    code = "from tests.test_soak import print_what_malloc_keeps as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    allocated, kept, in_use = map(float, done.stdout.split())
    assert allocated == pytest.approx(30, abs=2)
    assert kept > 25
    assert in_use == pytest.approx(0.3, abs=2)

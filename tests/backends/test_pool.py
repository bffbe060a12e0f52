"""Analyzers are shared: the same choice is loaded once, the last few stay."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastface.backends.placement import Placement
from fastface.backends.pool import forget_analyzers, shared_analyzer
from fastface.utils.packs import ModelFile, ModelPack
from tests.nodes.fakes import FakeBackend


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    forget_analyzers()
    yield
    forget_analyzers()


def pack(name: str) -> ModelPack:
    return ModelPack(name, Path(name), (ModelFile(Path(name, "a.onnx"), "detection"),))


def test_the_same_choice_gives_the_same_analyzer():
    first = shared_analyzer(pack("a"), FakeBackend(), Placement())
    assert shared_analyzer(pack("a"), FakeBackend(), Placement("cpu", "fp32", False)) is first


@pytest.mark.parametrize(
    ("name", "placement"),
    [
        ("b", Placement()),
        ("a", Placement("cuda")),
        ("a", Placement("cuda:1")),
        ("a", Placement(precision="fp16")),
        ("a", Placement(strict=True)),
    ],
)
def test_another_choice_gives_another(name: str, placement: Placement):
    first = shared_analyzer(pack("a"), FakeBackend(), Placement())
    assert shared_analyzer(pack(name), FakeBackend(), placement) is not first


def test_another_backend_gives_another():
    other = FakeBackend()
    other.name = "other"
    first = shared_analyzer(pack("a"), FakeBackend(), Placement())
    assert shared_analyzer(pack("a"), other, Placement()) is not first


def test_four_stay_and_the_one_unused_for_longest_goes():
    kept = {name: shared_analyzer(pack(name), FakeBackend(), Placement()) for name in "abcd"}
    assert shared_analyzer(pack("a"), FakeBackend(), Placement()) is kept["a"]
    shared_analyzer(pack("e"), FakeBackend(), Placement())
    for name in "acd":
        assert shared_analyzer(pack(name), FakeBackend(), Placement()) is kept[name]
    assert shared_analyzer(pack("b"), FakeBackend(), Placement()) is not kept["b"]


def test_threads_that_ask_at_once_get_one():
    with ThreadPoolExecutor(8) as threads:
        found = list(
            threads.map(lambda _: shared_analyzer(pack("a"), FakeBackend(), Placement()), range(16))
        )
    assert all(analyzer is found[0] for analyzer in found)

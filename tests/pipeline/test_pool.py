"""Analyzers are shared: the same choice is loaded once, the last few stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fastface.backends.placement import Placement
from fastface.pipeline.pool import forget_analyzers, shared_analyzer
from fastface.utils.errors import ModelReplaced
from fastface.utils.packs import ModelFile, ModelPack
from fastface.utils.packs.checksums import model_states
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


class TestContents:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "a.pt").write_bytes(b"weights")
        return tmp_path / "a.pt"

    @staticmethod
    def read(file: Path) -> ModelPack:
        model = ModelFile(file, "detection", files=model_states(file))
        return ModelPack("a", file.parent, (model,))

    @pytest.mark.parametrize("opened", [False, True])
    def test_another_content_gives_another(self, file: Path, opened: bool):
        first = shared_analyzer(self.read(file), FakeBackend(), Placement())
        if opened:
            first.model("detection")
        old = first.pack
        file.write_bytes(b"heavier weights")
        second = shared_analyzer(self.read(file), FakeBackend(), Placement())
        if opened:
            assert second is not first and first.pack is old, "it goes on with what it has"
            assert shared_analyzer(self.read(file), FakeBackend(), Placement()) is second
        else:
            assert second is first and first.pack == self.read(file), "nothing was read of it yet"

    def test_the_same_content_again_gives_the_same(self, file: Path):
        first = shared_analyzer(self.read(file), FakeBackend(), Placement())
        first.model("detection")
        old = first.pack
        os.utime(file, ns=(1, 1))
        assert shared_analyzer(self.read(file), FakeBackend(), Placement()) is first
        assert first.pack == self.read(file) != old

    def test_another_normalisation_gives_another(self, file: Path):
        first = shared_analyzer(self.read(file), FakeBackend(), Placement())
        pack = self.read(file)
        other = replace(pack, models=(replace(pack.models[0], mean=0.0),))
        assert shared_analyzer(other, FakeBackend(), Placement()) is not first

    def test_a_model_is_not_opened_from_another_content(self, file: Path):
        analyzer = shared_analyzer(self.read(file), FakeBackend(), Placement())
        file.write_bytes(b"heavier weights")
        with pytest.raises(ModelReplaced, match=r"a\.pt was replaced"):
            analyzer.model("detection")
        new = shared_analyzer(self.read(file), FakeBackend(), Placement())
        assert new.model("detection")

    def test_threads_that_ask_for_a_new_content_get_one(self, file: Path):
        shared_analyzer(self.read(file), FakeBackend(), Placement()).model("detection")
        file.write_bytes(b"heavier weights")
        pack = self.read(file)
        with ThreadPoolExecutor(8) as threads:
            found = list(
                threads.map(lambda _: shared_analyzer(pack, FakeBackend(), Placement()), range(16))
            )
        assert all(analyzer is found[0] for analyzer in found)


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

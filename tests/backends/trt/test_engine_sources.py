"""Engines are found by the content of the network they were built of."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastface.backends.trt import engine_sources
from fastface.backends.trt.engine_sources import find_engine, why_not_there
from fastface.backends.trt.engines import EngineKey, EngineStore
from fastface.backends.trt.library import Card, Library
from fastface.utils.errors import ModelReplaced
from fastface.utils.packs import ModelFile
from fastface.utils.packs.checksums import content_of, model_states
from tests.backends.onnx_graphs.small_graphs import embedder

onnx = pytest.importorskip("onnx")

CARD = Card("GeForce RTX 4090", 89)
SHAPE = (1, 3, 112, 112)


@pytest.fixture
def library() -> Library:
    return Library("tensorrt", "11.4.0", None, "of the test")  # type: ignore[arg-type]


def network(folder: Path) -> Path:
    """A graph with its weights in a file beside it."""
    folder.mkdir(exist_ok=True)
    path = folder / "w600k_r50.onnx"
    onnx.save(
        embedder("flatten"),
        str(path),
        save_as_external_data=True,
        location="weights.data",
        size_threshold=0,
    )
    return path


def model_of(path: Path) -> ModelFile:
    return ModelFile(path, "recognition", SHAPE, files=model_states(path))


def key_of(model: ModelFile, library: Library) -> EngineKey:
    return EngineKey(
        model=model.path.name,
        content=content_of(model),
        task=model.task,
        precision="fp32",
        graph=engine_sources._graph_version("fp32"),
        shapes=(SHAPE, SHAPE, SHAPE),
        takes_batches=True,
        library=str(library),
        device=library.device_key(CARD),
    )


def test_an_engine_is_of_one_content(tmp_path: Path, store: EngineStore, library: Library) -> None:
    path = network(tmp_path / "pack")
    model = model_of(path)
    store.save(key_of(model, library), b"engine", {})
    assert find_engine(store, model, "fp32", library, CARD) is not None
    same = model_of(network(tmp_path / "same"))
    assert find_engine(store, same, "fp32", library, CARD) is not None, "wherever it lies"
    data = path.with_name("weights.data")
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(ModelReplaced):
        find_engine(store, model, "fp32", library, CARD)
    changed = model_of(path)
    assert find_engine(store, changed, "fp32", library, CARD) is None
    assert "w600k_r50.onnx has no engine" in why_not_there(store, changed, "fp32", library, CARD)

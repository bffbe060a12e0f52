"""On a card: what is unloaded gives its memory back, and the budget is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.pipeline import lifecycle
from fastface.pipeline.analyzer import Analyzer
from fastface.utils.free_memory import return_memory
from fastface.utils.images import Images
from fastface.utils.packs import ModelPack
from fastface.utils.packs.read import read_pack

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]
CARD = torch.device("cuda", 0)


@pytest.fixture
def pack(test_data: Path) -> ModelPack:
    return read_pack("models", test_data / "models")


def detected(analyzer: Analyzer) -> torch.Tensor:
    image = torch.rand(2, 320, 320, 3, generator=torch.Generator().manual_seed(1))
    options = DetectionOptions(((320, 320),), threshold=0.02)
    return analyzer.detect(Images.from_comfy(image), options).boxes.cpu()


def test_unloading_gives_the_cards_memory_back(pack: ModelPack) -> None:
    analyzer = Analyzer(pack, get_backend("torch"), Placement("cuda"))
    first = detected(analyzer)
    lifecycle.unload()
    return_memory()
    before = torch.cuda.memory_reserved(CARD)
    for _ in range(10):
        again = detected(analyzer)
        assert torch.cuda.memory_reserved(CARD) > before
        (model,) = lifecycle.loaded()
        assert model.device == "cuda:0"
        assert lifecycle.unload() == 1
        assert torch.cuda.memory_reserved(CARD) == before
        assert torch.equal(first, again)


def test_a_budget_too_small_for_a_model_means_the_cpu(pack: ModelPack, monkeypatch, caplog) -> None:
    monkeypatch.setenv("FASTFACE_GPU_MEM_LIMIT", "1MB")
    backend = get_backend("torch")
    analyzer = Analyzer(pack, backend, Placement("cuda"))
    assert detected(analyzer).shape[1] == 4
    where = analyzer.runs_on()["detection"]
    assert where.device == "cpu" and "of memory of cuda:0" in where.note
    assert "of memory of cuda:0" in caplog.text

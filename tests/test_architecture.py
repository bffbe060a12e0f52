"""The backend and the node that docs/ARCHITECTURE.md shows: they work as they are written there."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fastface.backends.base import GraphBackend
from fastface.backends.placement import Placement
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from tests.backends.small_pack import answers, are_same, make_small_pack

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ARCHITECTURE.md"


def module_of(title: str, package: str) -> ModuleType:
    """The first code below a title, as a file of a folder of the pack."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    code = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert code, f"{title!r} shows no code"
    for piece in code:
        compile(piece, f"{PAGE.name}, {title}", "exec")
    module = ModuleType(f"{package}.shown")
    module.__package__ = package
    exec(compile(code[0], f"{PAGE.name}, {title}", "exec"), vars(module))
    return module


def test_the_backend_gives_the_answers_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pack = make_small_pack(tmp_path / "small")
    backend: GraphBackend = module_of("Add a backend", "fastface.backends").ReferenceBackend()
    assert backend.why_unavailable() is None and backend.precisions("cpu") == ("fp32",)
    expected = answers(pack, "torch")
    for strict in (False, True):
        with pytest.raises(InvalidInput, match=r"reference: got device 'cuda', expected one of"):
            backend.open(pack, "detection", Placement("cuda", strict=strict))
    monkeypatch.setattr("tests.backends.small_pack.get_backend", lambda _name: backend)
    assert are_same(answers(pack, backend.name), expected)


def test_the_node_counts():
    node = module_of("Add a node", "fastface.nodes").NODES["FastFaceCount"]
    inputs = node.INPUT_TYPES()["required"]
    assert inputs["faces"][0] == "FASTFACE_FACES,FASTFACE_TRACKS" and len(node.RETURN_TYPES) == 1
    faces = Faces(
        torch.tensor([[0.0, 0, 8, 8], [2, 2, 6, 6]]),
        torch.ones(2),
        torch.zeros(2, dtype=torch.int64),
        ((8, 8), (8, 8)),
    )
    shown = getattr(node(), node.FUNCTION)(faces=faces)
    assert shown["result"] == (2,) and "2 faces in 1 of 2 images" in str(shown["ui"])
    assert getattr(node(), node.FUNCTION)(faces=faces, score=1.1)["result"] == (0,)

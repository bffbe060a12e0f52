"""A machine with an NVIDIA card and a TensorRT library, neither of which is there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import onnx
import pytest
import torch

from fastface.backends import tensorrt as backend
from fastface.backends.trt import library
from fastface.backends.trt.library import TENSORRT, TENSORRT_RTX, Card, Library
from fastface.backends.trt.profile import Profile, Span
from fastface.pipeline import engine_building
from fastface.utils.packs import ModelPack
from fastface.utils.packs.read import read_pack
from tests.backends.onnx_graphs.small_graphs import detector, embedder
from tests.backends.trt.stub import StubModule

GEFORCE = Card("GeForce RTX 4090", 89)
TURING = Card("Quadro RTX 4000", 75)
HOPPER = Card("H200", 90)
SMALL = Profile(Span(1, 2, 4), Span(64, 96, 160))


def put_in_place(
    monkeypatch: pytest.MonkeyPatch, modules: Sequence[StubModule], card: Card | None
) -> None:
    """Makes these the only TensorRT libraries, and this the only card; the CPU plays its part."""
    there = {module.__name__: module for module in modules}
    for name in (TENSORRT, TENSORRT_RTX):
        if name in there:
            monkeypatch.setitem(sys.modules, name, there[name])
        else:
            monkeypatch.delitem(sys.modules, name, raising=False)
    find = library.importlib.util.find_spec

    def find_spec(name: str) -> object:
        if name in (TENSORRT, TENSORRT_RTX):
            return there.get(name)
        return find(name)

    monkeypatch.setattr(library.importlib.util, "find_spec", find_spec)
    for module in (library, engine_building, backend):
        monkeypatch.setattr(module, "card_here", lambda index=0: card if index == 0 else None)
    for module in (engine_building, backend):
        monkeypatch.setattr(module, "cuda_device", lambda index: torch.device("cpu"))
    streams_of_the_cpu(monkeypatch)


class Stream:
    """A CUDA stream that only remembers whom it waited for."""

    waits: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, device: object = None, handle: int = 7) -> None:
        self.cuda_stream = handle

    def wait_stream(self, other: Stream) -> None:
        self.waits.append((self.cuda_stream, other.cuda_stream))


def streams_of_the_cpu(monkeypatch: pytest.MonkeyPatch, current: int = 0) -> list[tuple[int, int]]:
    """Lets code for CUDA streams run without CUDA; gives the list of who waited for whom."""
    here = Stream(handle=current)
    monkeypatch.setattr(Stream, "waits", [])
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: here)
    return Stream.waits


def library_of(module: StubModule) -> Library:
    return Library(module.__name__, module.__version__, module, "it is the only one")


def small_pack(folder: Path) -> ModelPack:
    """A pack with a detector of open size and a recogniser."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(detector(), str(folder / "detector.onnx"))
    onnx.save(embedder("batch_norm"), str(folder / "embedder.onnx"))
    return read_pack("small", folder)

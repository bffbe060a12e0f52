"""What an ONNX file says of itself, read from damaged files; nothing is opened."""

from __future__ import annotations

import random
from pathlib import Path

import onnx

from fastface.utils.packs.classify import classify
from fastface.utils.packs.graph_header import read_graph_header
from tests.fuzz.cases import Target
from tests.fuzz.odd_bytes import damaged
from tests.fuzz.odd_graphs import mutated
from tests.fuzz.targets.graphs import sound_graphs


class Headers(Target):
    about = "what damaged ONNX files say of themselves"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # The small ones: damage to weights, which are most of the others, is nothing to a header.
        graphs = [graph for graphs in sound_graphs().values() for graph in graphs]
        self._graphs = [graph for graph in graphs if graph.ByteSize() < 1 << 16]
        self._contents = [graph.SerializeToString() for graph in self._graphs]

    def run(self, chance: random.Random) -> None:
        if chance.random() < 0.6:
            content = damaged(chance.choice(self._contents), chance)
        else:
            content = mutated(chance.choice(self._graphs), chance)
        if chance.random() < 0.05:
            content = chance.choice(
                (b"", b"PK\x03\x04", b"<html>", bytes(64), chance.randbytes(64))
            )
        path = self.folder / "net.onnx"
        path.write_bytes(content)
        header = read_graph_header(path)
        str(header)
        model = classify(path, header)
        if model is not None:
            _ = model.fixed_size_wh, model.takes_batches, model.black
        onnx.ModelProto()  # it parses more than headers do; what it refuses is refused when opened

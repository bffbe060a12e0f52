"""Every node, with what a link may bring to its inputs."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastface import nodes
from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.nodes.sockets import FACES_INPUT
from fastface.utils import cores
from fastface.utils.images import Images
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.tracks import FilmSource
from tests.fuzz.cases import Target
from tests.fuzz.odd_values import (
    odd_crops,
    odd_embedding,
    odd_faces,
    odd_image,
    odd_number,
    odd_text,
    odd_tracks,
    odd_value,
)
from tests.fuzz.small_pack import (
    small_face_analysis,
    without_cheap_instructions,
    write_small_pack,
)

#: Take longer than a case may: contests start processes and take turns by the clock, engines are
#: built for minutes. Their inputs are checked by the code that checks all others.
_LONG = {"FastFaceBenchmark", "FastFaceBuildEngine"}
#: What may be larger, such as the side of crops, takes the memory and time that was asked for.
_MOST = 64
#: Never true here: nothing is to be downloaded.
_FALSE = {"download_missing"}


class Nodes(Target):
    about = "every node's function, with odd values on its inputs"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pack = write_small_pack(folder / "packs" / "small")
        self._features, cores.cpu_features = cores.cpu_features, without_cheap_instructions
        self._before = {"FASTFACE_MODELS": os.environ.get("FASTFACE_MODELS")}
        os.environ["FASTFACE_MODELS"] = str(pack.parent)
        # Outside ComfyUI nodes keep their files in the working folder.
        self._working_folder = Path.cwd()
        os.chdir(folder)
        self._face_analysis = small_face_analysis(pack)
        numbers = np.random.default_rng(0)
        self._images = torch.from_numpy(numbers.random((2, 64, 96, 3), dtype=np.float32))
        found = self._face_analysis.analyze(Images.from_comfy(self._images), ["recognition"])
        self._faces = found
        mapping = nodes.NODE_CLASS_MAPPINGS
        embedded = mapping["FastFaceEmbed"]().embed(self._face_analysis, self._images, "all")
        self._embedding = _result(embedded)[1]
        crop = mapping["FastFaceCrop"]().crop(self._images, found, "square", 32, 0.5)
        self._origin = _result(crop)[1]
        source = FilmSource(None, (64, 96), 0, Fraction(25), "")
        self._tracks = link(found, (0.0, 0.04), (0, 1), source)
        self._sound: dict[str, Callable[[], Any]] = {
            "IMAGE": lambda: self._images,
            "FACEANALYSIS": lambda: self._face_analysis,
            FACES_INPUT: lambda: self._faces,
            "FASTFACE_EMBEDDING": lambda: self._embedding,
            "FASTFACE_CROPS": lambda: self._origin,
            "FASTFACE_MTCNN": MtcnnParameters,
            "FASTFACE_TRACKS": lambda: self._tracks,
        }

    def run(self, chance: random.Random) -> None:
        name = chance.choice(sorted(set(nodes.NODE_CLASS_MAPPINGS) - _LONG))
        node = nodes.NODE_CLASS_MAPPINGS[name]
        declared = node.INPUT_TYPES()
        inputs = {**declared.get("required", {}), **declared.get("optional", {})}
        optional = set(declared.get("optional", {}))
        # Most inputs are sound, so that odd ones get far.
        odd = set(chance.sample(sorted(inputs), min(len(inputs), chance.choice((0, 1, 1, 1, 2)))))
        values = {}
        for label, (kind, *options) in inputs.items():
            if label in optional and label not in odd and chance.random() < 0.4:
                continue
            if label in _FALSE:
                values[label] = False
            elif label in odd:
                values[label] = self._odd(kind, options[0] if options else {}, chance)
            else:
                values[label] = self._usual(kind, options[0] if options else {}, chance)
        for check in ("IS_CHANGED", "VALIDATE_INPUTS"):
            if hasattr(node, check):
                linked = {label for label in values if chance.random() < 0.2}
                known = {label: values[label] for label in values if label not in linked}
                _ask(getattr(node, check), known)
        getattr(node(), node.FUNCTION)(**values)

    def _usual(self, kind: Any, options: dict[str, Any], chance: random.Random) -> Any:
        if isinstance(kind, (list, tuple)):
            return chance.choice(list(kind)) if kind else ""
        if kind in self._sound:
            return self._sound[kind]()
        if kind == "INT":
            return chance.choice((options["default"], options["min"], min(options["max"], _MOST)))
        if kind == "FLOAT":
            return chance.choice((options["default"], options["min"], options["max"]))
        if kind == "BOOLEAN":
            return chance.random() < 0.5
        return options.get("default", "a name") if kind == "STRING" else None

    def _odd(self, kind: Any, options: dict[str, Any], chance: random.Random) -> Any:
        if chance.random() < 0.2:
            return odd_value(chance)
        if kind == "IMAGE":
            return odd_image(chance)
        if kind == FACES_INPUT:
            if chance.random() < 0.3:
                return odd_tracks(chance, self._tracks)
            return odd_faces(chance, self._faces)
        if kind == "FASTFACE_TRACKS":
            return odd_tracks(chance, self._tracks)
        if kind == "FASTFACE_EMBEDDING":
            return odd_embedding(chance, self._embedding)
        if kind == "FASTFACE_CROPS":
            return odd_crops(chance, self._origin)
        if kind in ("INT", "FLOAT", "BOOLEAN"):
            number = odd_number(chance)
            is_asked_for = kind == "INT" and _MOST < number <= options["max"]
            return _MOST if is_asked_for else number
        if kind == "STRING" or isinstance(kind, (list, tuple)):
            return odd_text(chance)
        other = chance.choice(sorted(self._sound))
        return self._sound[other]()

    def close(self) -> None:
        cores.cpu_features = self._features
        os.chdir(self._working_folder)
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _result(output: Any) -> Any:
    return output["result"] if isinstance(output, dict) else output


def _ask(check: Callable[..., Any], values: dict[str, Any]) -> None:
    """ComfyUI gives these what they ask for, as far as it comes through no link."""
    taken = inspect.signature(check).parameters
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        check(**values)
    else:
        check(**{name: value for name, value in values.items() if name in taken})

"""No node takes what it does not declare, and none reads or hands on pixels that are none.

Every node is walked, with every input: a new one is tested by existing.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.nodes.crop import FastFaceCrop
from fastface.nodes.inputs import check_inputs
from fastface.nodes.socket_checks import SOCKETS
from fastface.nodes.sockets import (
    FACES_INPUT,
    TRACKS,
)
from fastface.pipeline.insightface_compat.face_model import FACE_MODEL_TASKS
from fastface.utils.embedding import Embedding
from fastface.utils.errors import FastFaceError, InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.tracks import FilmSource, Tracks
from tests.nodes.fakes import analysis_of, images_with

NAN, INF = float("nan"), float("inf")
WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING")


def declared_inputs() -> Iterator[tuple[str, str, Any, dict[str, Any], bool]]:
    for node_id, node in sorted(NODE_CLASS_MAPPINGS.items()):
        declared = node.INPUT_TYPES()
        for kind in ("required", "optional"):
            for name, (socket, options) in declared.get(kind, {}).items():
                yield node_id, name, socket, options, kind == "required"


def wrong_values(socket: Any, options: dict[str, Any]) -> list[Any]:
    things = [object(), {}, torch.ones(2)]
    if isinstance(socket, list):
        return [*things, 7, NAN, ["auto"]]
    if socket == "INT":
        low, high = options["min"], options["max"]
        return [*things, low - 1, high + 1, low + 0.5, NAN, INF, True, str(low), np.float32(NAN)]
    if socket == "FLOAT":
        low, high = options["min"], options["max"]
        return [*things, low - 0.01, high + 0.01, NAN, INF, -INF, True, str(low), np.float32(NAN)]
    if socket == "BOOLEAN":
        return [*things, "false", 2, 0.5, NAN]
    if socket == "STRING":
        return [*things, 7, NAN, b"text"]
    if socket == "IMAGE":
        shapes = [(8, 8, 3), (1, 8, 8, 2), (1, 8, 8, 5), (1, 3, 8, 8), (1, 0, 8, 3)]
        tensors = [torch.zeros(shape) for shape in shapes]
        return [
            object(),
            "path",
            [torch.zeros(1, 8, 8, 3)],
            torch.zeros(1, 8, 8, 3).int(),
            *tensors,
        ]
    return [*things, 7, "text", [1, 2]] if socket in SOCKETS else []


INPUTS = list(declared_inputs())


def test_every_type_of_input_has_a_check():
    unknown = {
        socket
        for *_, socket, _, _ in INPUTS
        if not isinstance(socket, list) and socket not in (*WIDGETS, *SOCKETS)
    }
    assert unknown <= {"*"}


@pytest.fixture
def valid(tmp_path: Path) -> dict[str, Any]:
    """A value for every type of socket."""
    face_analysis = analysis_of(("detection", *FACE_MODEL_TASKS), tmp_path)
    images = images_with(2, 1)
    faces = face_analysis.analyze(torch_images(images), ["recognition"])
    return {
        "IMAGE": images,
        "FACEANALYSIS": face_analysis,
        FACES_INPUT: faces,
        "FASTFACE_EMBEDDING": Embedding(torch.ones(1, 3), faces.embedding_space),
        "FASTFACE_MTCNN": MtcnnParameters(),
        "FASTFACE_CROPS": FastFaceCrop().crop(images, faces)["result"][1],
        "FASTFACE_TRACKS": tracks_of(faces),
    }


def tracks_of(faces: Faces) -> Tracks:
    count = len(faces.image_sizes)
    source = FilmSource(None, faces.image_sizes[0], 0, Fraction(10), "")
    return link(faces, [number / 10 for number in range(count)], range(count), source)


def torch_images(images: torch.Tensor) -> Any:
    from fastface.utils.images import Images

    return Images.from_comfy(images)


def call(node_id: str, valid: dict[str, Any], **changes: Any) -> Any:
    """Runs a node with valid inputs, except for some."""
    node = NODE_CLASS_MAPPINGS[node_id]
    values = {}
    for kind in ("required", "optional"):
        for name, (socket, options) in node.INPUT_TYPES().get(kind, {}).items():
            if isinstance(socket, list):
                values[name] = options.get("default", socket[0])
            elif socket in WIDGETS:
                values[name] = options["default"]
            elif socket in valid:
                values[name] = valid[socket]
    return getattr(node(), node.FUNCTION)(**values | changes)


@pytest.mark.parametrize(
    ("node_id", "name", "socket", "options", "required"),
    INPUTS,
    ids=[f"{node_id}.{name}" for node_id, name, *_ in INPUTS],
)
def test_a_wrong_value_is_refused_by_name(
    valid, node_id: str, name: str, socket: Any, options: dict[str, Any], required: bool
):
    wrong = wrong_values(socket, options)
    if required and not options.get("lazy"):
        wrong.append(None)
    for value in wrong:
        with pytest.raises(InvalidInput, match=rf"\b{name}\b"):
            call(node_id, valid, **{name: value})


def readers() -> Iterator[tuple[str, str, dict[str, None]]]:
    """Every IMAGE input of every node, with its optional faces and without."""
    for node_id, name, socket, _, _ in INPUTS:
        if socket == "IMAGE":
            yield node_id, name, {}
            if "faces" in NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES().get("optional", {}):
                yield node_id, name, {"faces": None}


@pytest.mark.parametrize(("node_id", "name", "changes"), list(readers()))
@pytest.mark.parametrize("bad", [NAN, INF, -INF, 200.0])
def test_pixels_that_are_none_are_refused(
    valid, node_id: str, name: str, changes: dict[str, None], bad: float
):
    images = valid["IMAGE"].clone() if name == "images" else torch.zeros(3, 8, 8, 3)
    images[1, 5, 7, 2] = bad
    reason = r"values from .* to 200" if bad == 200 else "NaN or infinite values"
    with pytest.raises(InvalidInput, match=reason):
        call(node_id, valid, **{name: images}, **changes)


def with_bad_number(value: Any, field: str, bad: float) -> Any:
    """A copy of something with one number changed."""
    tensor = getattr(value, field).clone()
    tensor.view(-1)[-1] = bad
    return dataclasses.replace(value, **{field: tensor})


FLOATING = [
    (FACES_INPUT, "boxes"),
    (FACES_INPUT, "scores"),
    (FACES_INPUT, "landmarks"),
    (FACES_INPUT, "embeddings"),
    ("FASTFACE_EMBEDDING", "vector"),
    ("FASTFACE_CROPS", "pixels"),
    ("FASTFACE_CROPS", "matrices"),
]


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize(("socket", "field"), FLOATING)
def test_what_is_no_number_is_refused_by_every_node(valid, socket: str, field: str, bad: float):
    takers = [(node_id, name) for node_id, name, other, _, _ in INPUTS if other == socket]
    assert takers
    for node_id, name in takers:
        changed = with_bad_number(valid[socket], field, bad)
        with pytest.raises(InvalidInput, match=rf"NaN or infinite .*\b{name} input"):
            call(node_id, valid, **{name: changed})


FOR_FACES = [
    (node_id, name)
    for node_id, node in sorted(NODE_CLASS_MAPPINGS.items())
    for kind in ("required", "optional")
    for name, (socket, *_) in node.INPUT_TYPES().get(kind, {}).items()
    if not isinstance(socket, list) and "FASTFACE_FACES" in socket
]


@pytest.mark.parametrize(("node_id", "name"), FOR_FACES)
def test_tracks_are_taken_wherever_faces_are(
    monkeypatch: pytest.MonkeyPatch, valid: dict[str, Any], node_id: str, name: str
):
    """A film is never detected twice: the node gets what it would get from the faces."""
    node = NODE_CLASS_MAPPINGS[node_id]
    assert dict(declared_sockets(node))[name] == "FASTFACE_FACES,FASTFACE_TRACKS"
    tracks = valid[TRACKS]
    values = {name: tracks}
    check_inputs({"required": {name: (FACES_INPUT, {})}}, values)
    assert values[name] is tracks.faces
    known = dataclasses.replace(tracks, names={tracks.track_ids()[0]: "Ada"})
    values = {name: known}
    check_inputs({"required": {name: (FACES_INPUT, {})}}, values)
    names = values[name].names_of_faces()
    expected = ["Ada" if track == tracks.track_ids()[0] else None for track in tracks.ids.tolist()]
    assert names == expected and "Ada" in names
    assert outcome(node_id, valid, name, tracks) == outcome(node_id, valid, name, tracks.faces)


def outcome(node_id: str, valid: dict[str, Any], name: str, value: Any) -> Any:
    """What a node says, or refuses: some want more than the fakes here have."""
    try:
        given = call(node_id, valid, **{name: value})
    except (FastFaceError, AttributeError) as error:
        return str(error)
    return given["ui"] if isinstance(given, dict) else tuple(map(type, given))


def declared_sockets(node: Any) -> Iterator[tuple[str, Any]]:
    for kind in ("required", "optional"):
        for name, (socket, *_) in node.INPUT_TYPES().get(kind, {}).items():
            yield name, socket


def test_odd_faces_of_tracks_are_refused(valid: dict[str, Any]):
    tracks = valid[TRACKS]
    changed = dataclasses.replace(tracks, faces=with_bad_number(tracks.faces, "boxes", NAN))
    for node_id, name in FOR_FACES:
        with pytest.raises(InvalidInput, match=rf"NaN or infinite .*\b{name} input"):
            call(node_id, valid, **{name: changed})


HOOKS = [
    (node_id, hook)
    for node_id, node in sorted(NODE_CLASS_MAPPINGS.items())
    for hook in ("IS_CHANGED", "VALIDATE_INPUTS")
    if hasattr(node, hook)
]
ANYTHING = [
    None, 7, NAN, "", "auto", "no\0name", "\ud800", "x" * 5000, b"bytes", [], ["auto"],
    {}, object(), np.arange(3), np.array(["auto", "none"]), torch.arange(3), torch.zeros(0),
]  # fmt: skip


@pytest.mark.parametrize(("node_id", "hook"), HOOKS)
def test_what_comfyui_asks_before_a_run_takes_anything(node_id: str, hook: str):
    node = NODE_CLASS_MAPPINGS[node_id]
    ask = getattr(node, hook)
    taken = inspect.signature(ask).parameters.values()
    takes_all = any(each.kind is each.VAR_KEYWORD for each in taken)
    declared = node.INPUT_TYPES()
    inputs = {**declared.get("required", {}), **declared.get("optional", {})}
    names = [name for name in inputs if takes_all or name in {each.name for each in taken}]
    ask()  # ComfyUI leaves out what comes through a link
    for name in names:
        for value in ANYTHING:
            answer = ask(**{name: value})
            if hook == "VALIDATE_INPUTS" and value is not None and not isinstance(value, str):
                assert isinstance(answer, str) and name in answer, value


@pytest.mark.parametrize(
    ("socket", "options", "value", "expected"),
    [
        ("INT", {"min": 0, "max": 9}, np.int64(4), 4),
        ("INT", {"min": 0, "max": 9}, 4.0, 4),
        ("INT", {"min": 0, "max": 9}, np.float32(4), 4),
        ("FLOAT", {"min": 0.0, "max": 9.0}, 4, 4.0),
        ("FLOAT", {"min": 0.0, "max": 9.0}, np.float32(0.5), 0.5),
        ("BOOLEAN", {}, np.True_, True),
        ("BOOLEAN", {}, 0, False),
        ("STRING", {}, "", ""),
        (["a", "b"], {}, "b", "b"),
        ("*", {}, None, None),
    ],
)
def test_what_is_meant_is_taken(socket: Any, options: dict[str, Any], value: Any, expected: Any):
    values = {"it": value, "not_declared": object()}
    check_inputs({"required": {"it": (socket, options)}}, values)
    assert values["it"] == expected and type(values["it"]) is type(expected)


def test_what_is_not_connected_is_not_checked():
    values = {"faces": None}
    check_inputs({"optional": {"faces": (FACES_INPUT, {})}}, values)
    assert values == {"faces": None}


def test_the_message_says_what_was_got_and_what_may_be():
    declared = {"required": {"size": ("INT", {"min": 16, "max": 4096})}}
    with pytest.raises(
        InvalidInput,
        match=re.escape("got size -1, expected a whole number from 16 to 4096; change it"),
    ):
        check_inputs(declared, {"size": -1})

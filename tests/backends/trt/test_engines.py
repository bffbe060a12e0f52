"""The engine folder: what was built is found, what is damaged or outside is not."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import pytest

from fastface.backends.trt.engines import EngineKey, EngineStore
from fastface.utils.checksummed_file import DamagedFile
from fastface.utils.errors import InvalidInput

KEY = EngineKey(
    model="scrfd.onnx",
    content="c0ffee",
    task="detection",
    precision="fp16",
    graph="prepared 1, half 1",
    shapes=((1, 3, 128, 128), (8, 3, 640, 640), (32, 3, 1024, 1024)),
    takes_batches=True,
    library="tensorrt 11.4.0",
    device="GeForce RTX 4090 (sm89)",
)
OTHERS = {
    "model": "other.onnx",
    "content": "decaf",
    "task": "recognition",
    "precision": "fp32",
    "graph": "prepared 2",
    "shapes": ((1, 3, 128, 128), (8, 3, 640, 640), (64, 3, 1024, 1024)),
    "takes_batches": False,
    "library": "tensorrt 11.5.0",
    "device": "GeForce RTX 4080 (sm89)",
}


def test_what_was_saved_is_loaded_with_what_was_noted(store: EngineStore):
    path = store.save(KEY, b"engine", {"seconds": 3.5})
    assert path.parent == store.folder and path.name.startswith("scrfd-fp16-")
    assert store.load(KEY) == b"engine" and store.is_whole(KEY)
    assert store.facts(KEY)["seconds"] == 3.5
    assert list(store.listed()) == [KEY]
    assert sorted(file.suffix for file in store.folder.iterdir()) == [".engine", ".json"]


@pytest.mark.parametrize("name", OTHERS)
def test_another_in_any_respect_is_another_file(store: EngineStore, name: str):
    other = dataclasses.replace(KEY, **{name: OTHERS[name]})
    store.save(KEY, b"engine", {})
    assert not store.is_whole(other) and store.path(other) != store.path(KEY)
    # Under the other's name it is still told apart.
    store.path(KEY).rename(store.path(other))
    with pytest.raises(DamagedFile, match=f"is something else: {name}"):
        store.load(other)
    assert list(store.listed()) == []


def test_a_damaged_one_is_passed_over_and_told(store: EngineStore, caplog):
    store.save(KEY, b"engine", {})
    store.path(KEY).write_bytes(b"")
    with caplog.at_level(logging.WARNING, "FastFace"):
        assert list(store.listed()) == [] and not store.is_whole(KEY)
    assert "is empty; it is built again" in caplog.text


def test_a_newer_version_takes_the_place_of_an_older(store: EngineStore):
    other_card = dataclasses.replace(KEY, device="H200 (sm90)")
    other_library = dataclasses.replace(KEY, library="tensorrt_rtx 1.7", device="sm80 and newer")
    for key in (KEY, other_card, other_library):
        store.save(key, b"engine", {})
    newer = dataclasses.replace(KEY, library="tensorrt 11.5.0", graph="prepared 2, half 1")
    store.save(newer, b"newer", {})
    assert set(store.listed()) == {newer, other_card, other_library}
    assert not store.path(KEY).with_suffix(".json").exists()


def test_a_note_of_another_engine_says_nothing(store: EngineStore):
    store.save(KEY, b"engine", {"fitness": {"verdict": "fit"}})
    notes = store.path(KEY).with_suffix(".json")
    before = notes.read_bytes()
    store.save(KEY, b"rebuilt", {})
    notes.write_bytes(before)
    assert store.facts(KEY) == {}
    for text in (b"", b"[]", b"{", b"\xff"):
        notes.write_bytes(text)
        assert store.facts(KEY) == {}


@pytest.mark.parametrize(
    ("written", "changed"), [(b"unfit", b"fit"), (b"0.25", b"0.05"), (b'"sha256"', b'"sha257"')]
)
def test_a_note_that_was_changed_says_nothing(
    store: EngineStore, written: bytes, changed: bytes, caplog
):
    store.save(KEY, b"engine", {"fitness": {"verdict": "unfit", "figures": {"box_px": 0.25}}})
    assert store.facts(KEY)["fitness"]["verdict"] == "unfit"
    notes = store.path(KEY).with_suffix(".json")
    assert written in notes.read_bytes()
    notes.write_bytes(notes.read_bytes().replace(written, changed))
    with caplog.at_level(logging.WARNING, "FastFace"):
        assert store.facts(KEY) == {}
    assert "is not what was written" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own on Windows")
def test_nothing_is_read_from_outside_the_folder(store: EngineStore, tmp_path: Path, caplog):
    path = store.save(KEY, b"engine", {})
    outside = tmp_path / "outside.engine"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(InvalidInput, match="outside the engine folder"):
        store.load(KEY)
    assert list(store.listed()) == [] and "outside the engine folder" in caplog.text
    notes = path.with_suffix(".json")
    notes.rename(tmp_path / "notes.json")
    notes.symlink_to(tmp_path / "notes.json")
    assert store.facts(KEY) == {}


@pytest.mark.parametrize("name", ["../elsewhere.onnx", "/tmp/elsewhere.onnx"])
def test_no_name_of_a_model_leads_outside(store: EngineStore, name: str):
    assert store.path(dataclasses.replace(KEY, model=name)).parent == store.folder


def test_timings_belong_to_a_library_and_a_device(store: EngineStore, caplog):
    assert store.timings("tensorrt 11.4", "H200") == b"" and not caplog.text
    store.save_timings("tensorrt 11.4", "H200", b"timed")
    assert store.timings("tensorrt 11.4", "H200") == b"timed"
    assert store.timings("tensorrt 11.5", "H200") == store.timings("tensorrt 11.4", "L4") == b""
    (file,) = store.folder.glob("*.timings")
    file.write_bytes(file.read_bytes()[:-1])
    assert store.timings("tensorrt 11.4", "H200") == b"" and "timed anew" in caplog.text

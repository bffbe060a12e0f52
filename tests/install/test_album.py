"""The command `album`: from the command line to the results, and what it says."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

from fastface.installer.pack_commands import album
from fastface.pipeline.album import album_analysis
from fastface.utils import host
from fastface.utils.files import write_whole
from fastface.utils.gallery.contents import Addition, with_added
from fastface.utils.gallery.gallery_store import GalleryStore
from tests.nodes.fakes import SteadyRecogniser, analysis_of
from tests.pipeline.album import odd_files
from tests.pipeline.album.test_album import with_faces
from tests.utils.gallery.people import vectors_of

FORMAT = ["--format", "jsonl"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> Path:
    """A folder of photos; models without networks, whose embedding space is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    app = analysis_of(("detection", "recognition"), tmp_path, SteadyRecogniser)
    monkeypatch.setattr(album, "load_face_analysis", lambda **_: app)
    monkeypatch.setattr(album, "describe_loaded", lambda _: "fake")
    caplog.set_level(logging.INFO, "FastFace")
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        write_whole(folder / f"{number}.png", odd_files.encoded(with_faces(number), "PNG"))
    (folder / "two\nlines.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("Rome")
    return folder


def space_of_models() -> str:
    app = album.load_face_analysis()
    return app.analyzer.embedding_space or ""


def test_it_writes_all_and_says_what_it_left_out(photos: Path, caplog):
    assert album.main([str(photos), *FORMAT]) == 0
    output = Path("album_output")
    assert {each.name for each in output.iterdir()} == {
        "faces.jsonl",
        "people.html",
        "album.json",
        "parts",
    }
    document = json.loads((output / "album.json").read_text(encoding="utf-8"))
    assert (document["files"], document["faces"], document["album"]) == (5, 3, "photos")
    assert [each["path"] for each in document["left_out"]] == ["notes.txt", "two\nlines.jpg"]
    assert "5 files: 0 of earlier runs, 3 pictures and frames analysed" in caplog.text
    assert r"  two\nlines.jpg: its first bytes are of no picture" in caplog.text
    assert "1 files are neither pictures nor films" in caplog.text
    caplog.clear()
    assert album.main([str(photos), *FORMAT]) == 0
    assert "5 files: 3 of earlier runs, 0 pictures" in caplog.text
    caplog.clear()
    assert album.main([str(photos), *FORMAT, "--fresh"]) == 0
    assert "5 files: 0 of earlier runs, 3 pictures" in caplog.text


def refused(arguments: list[str], caplog, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command says; nothing may have been analysed before it does."""
    monkeypatch.setattr(album_analysis, "walk", lambda *_, **__: pytest.fail("it went on"))
    assert album.main(arguments) == 1
    return caplog.text


def test_a_gallery_that_is_not_there(photos: Path, caplog, monkeypatch):
    said = refused([str(photos), "--gallery", "nobody"], caplog, monkeypatch)
    assert "got the gallery 'nobody', which is neither" in said


def test_a_gallery_of_another_embedding_space(photos: Path, caplog, monkeypatch):
    other = Addition("Anna", vectors_of(1))
    GalleryStore(Path("people")).change(lambda known: with_added(known, [other], "other@123"))
    said = refused([str(photos), "--gallery", "people"], caplog, monkeypatch)
    assert "can't be compared; use the model pack that the gallery was made with" in said


@pytest.mark.parametrize("what", ["vectors", "json", "version"])
def test_a_gallery_that_is_damaged_or_newer(photos: Path, what: str, caplog, monkeypatch):
    store = GalleryStore(Path("people"))
    store.change(lambda known: with_added(known, [Addition("Anna", vectors_of(1))], "other@123"))
    if what == "vectors":
        (file,) = store.folder.glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-3])
    else:
        file = store.folder / "gallery.json"
        text = file.read_text(encoding="utf-8")
        changed = text.replace('"version": 1', '"version": 99') if what == "version" else text[:-9]
        file.write_text(changed, encoding="utf-8")
    before = {each: each.read_bytes() for each in store.folder.iterdir()}
    said = refused([str(photos), "--gallery", "people"], caplog, monkeypatch)
    expected = "update ComfyUI-FastFace" if what == "version" else "is damaged"
    assert expected in said
    assert before == {each: each.read_bytes() for each in store.folder.iterdir()}


def test_names_of_a_gallery(photos: Path, caplog):
    # The fake network says of a face how large it is and how sure: see SteadyRecogniser.
    app = album.load_face_analysis()
    found = album_analysis.analyze_album(app, [photos], Path("before"))
    first = next(each for each in found.records() if each.path == "1.png")
    anna = Addition("Anna", first.faces.embeddings)
    store = GalleryStore(Path("people"))
    store.change(lambda known: with_added(known, [anna], app.analyzer.embedding_space))
    assert album.main([str(photos), *FORMAT, "--gallery", "people", "--threshold", "0.9"]) == 0
    lines = Path("album_output/faces.jsonl").read_text(encoding="utf-8").splitlines()
    faces = {each["path"]: each.get("faces", []) for each in map(json.loads, lines)}
    assert [each["name"] for each in faces["1.png"]] == ["Anna"]
    # Both faces of the other photo are as like her, as this network sees it: one has the name.
    assert [each.get("name") for each in faces["2.png"]].count("Anna") == 1


def test_an_output_that_is_a_file(photos: Path, caplog):
    Path("taken").write_text("something")
    assert album.main([str(photos), *FORMAT, "--output", "taken"]) == 1
    assert "--output" in caplog.text and Path("taken").read_text() == "something"


def test_a_full_disk_loses_nothing(photos: Path, caplog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(album_analysis, "_AT_ONCE", 1)
    monkeypatch.setattr(album_analysis, "_PART_FILES", 2)
    written = Path.write_bytes
    full = [1]

    def write(path: Path, content: bytes) -> int:
        full[0] -= 1
        if full[0] < 0:
            raise OSError(28, "No space left on device", str(path))
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    assert album.main([str(photos), *FORMAT]) == 1
    assert "the disk of" in caplog.text and "is full" in caplog.text
    parts = list(Path("album_output/parts").iterdir())
    assert len(parts) == 1
    full[0] = 1000
    caplog.clear()
    assert album.main([str(photos), *FORMAT]) == 0
    assert "5 files: 2 of earlier runs, 1 pictures" in caplog.text


def test_parquet_needs_pyarrow_before_anything_is_done(photos: Path, caplog, monkeypatch):
    from fastface.pipeline.album import album_table

    monkeypatch.setattr(album_table, "has_module", lambda name: False)
    said = refused([str(photos), "--format", "parquet"], caplog, monkeypatch)
    assert "pip install pyarrow" in said and "--format jsonl" in said


def test_fast_decodes_large_jpegs_smaller(photos: Path):
    large = with_faces(1).resize((2880, 1920), Image.Resampling.NEAREST)
    (photos / "large.jpg").write_bytes(odd_files.encoded(large, "JPEG", quality=95))
    assert album.main([str(photos), *FORMAT, "--fast"]) == 0
    lines = Path("album_output/faces.jsonl").read_text(encoding="utf-8").splitlines()
    (found,) = (each for each in map(json.loads, lines) if each["path"] == "large.jpg")
    assert found["notes"] == "decoded at 1/2 of its size" and found["width"] == 2880

"""Folders that can't be written to: a clear error or work without them, and nothing lost."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.pipeline.album.album import AlbumOptions
from fastface.pipeline.album.album_analysis import analyze_album
from fastface.pipeline.album.album_results import write_results
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.face import Face
from fastface.pipeline.insightface_compat.face_model import FIELDS, save_face_model
from fastface.utils import host
from fastface.utils.download.fetch import download_file
from fastface.utils.embedding import Embedding
from fastface.utils.errors import DownloadError, FileError
from fastface.utils.gallery.contents import with_added
from fastface.utils.gallery.places import gallery_store
from fastface.utils.images import Images
from install import ROOT
from tests.nodes.fakes import SteadyRecogniser, analysis_of, images_with
from tests.pipeline.album import odd_files
from tests.pipeline.album.test_album import with_faces
from tests.rights import bound_by_rights, contents, read_only
from tests.utils.gallery.people import SPACE, person, vectors_of

FORBIDDEN = "right to write there"


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path


@pytest.fixture
def fake(tmp_path: Path) -> FaceAnalysis:
    (tmp_path / "pack").mkdir()
    return analysis_of(("detection", "recognition"), tmp_path / "pack", SteadyRecogniser)


def run_node(node_id: str, **inputs: Any) -> tuple[Any, ...]:
    made = NODE_CLASS_MAPPINGS[node_id]()
    answer = getattr(made, made.FUNCTION)(**inputs)
    return answer["result"] if isinstance(answer, dict) else answer


def embedding_of(number: int) -> Embedding:
    return Embedding(vectors_of(number), SPACE)


class TestGallery:
    @pytest.fixture(autouse=True)
    def folder(self) -> Path:
        store = gallery_store("friends")
        for number in range(3):
            store.change(lambda old, n=number: with_added(old, [person(n)], SPACE))
        return store.folder

    @pytest.mark.parametrize(
        "change",
        [
            {"action": "rename", "name": "person 0", "new_name": "Anna"},
            {"action": "merge", "name": "person 0", "new_name": "person 1"},
            {"action": "delete", "name": "person 0"},
            {"action": "undo"},
            {"name": "person 9"},
        ],
        ids=lambda change: change.get("action", "add"),
    )
    def test_no_change_is_made(self, folder: Path, change: dict[str, str]):
        before = contents(folder)
        node_id = "FastFaceGalleryEdit" if "action" in change else "FastFaceGalleryAdd"
        more = {} if "action" in change else {"embedding": embedding_of(9)}
        with read_only(folder), pytest.raises(FileError, match=FORBIDDEN) as raised:
            run_node(node_id, gallery="friends", **change, **more)
        assert contents(folder) == before
        assert "choose another gallery" in str(raised.value)
        run_node(node_id, gallery="friends", **change, **more)
        assert contents(folder) != before

    def test_everything_is_read(self, folder: Path, fake: FaceAnalysis):
        faces = fake.analyze(Images.from_comfy(images_with(1))).with_fields(
            embeddings=vectors_of(2), embedding_space=SPACE
        )
        with read_only(folder.parent):
            (_, count, text) = run_node("FastFaceGalleryEdit", gallery="friends", action="list")
            found = run_node("FastFaceGallerySearch", gallery="friends", faces=faces)[2]
        assert count == 3 and "person 2" in text and found == ["person 2"]

    def test_none_is_made_in_such_a_folder(self, folder: Path):
        before = contents(folder.parent)
        with read_only(folder.parent), pytest.raises(FileError, match=FORBIDDEN):
            run_node("FastFaceGalleryAdd", gallery="others", name="Anna", embedding=embedding_of(5))
        assert contents(folder.parent) == before

    def test_files_of_its_people_go_nowhere(self, folder: Path):
        models = folder.parent.parent
        before = contents(models)
        with read_only(models), pytest.raises(FileError, match=FORBIDDEN):
            run_node("FastFaceGalleryEdit", gallery="friends", action="export embeddings")
        assert contents(models) == before


class TestAlbum:
    @pytest.fixture(autouse=True)
    def album(self, tmp_path: Path) -> Path:
        folder = tmp_path / "album"
        folder.mkdir()
        for number in range(3):
            picture = odd_files.encoded(with_faces(number, shade=90 + number), "PNG")
            (folder / f"{number}.png").write_bytes(picture)
        return folder

    def test_the_pictures_may_lie_in_one(self, fake: FaceAnalysis, album: Path, tmp_path: Path):
        before = contents(album)
        with read_only(album):
            found = analyze_album(fake, [album], tmp_path / "output")
            write_results(found, fake, tmp_path / "output", "jsonl")
        assert found.faces == 3 and contents(album) == before

    def test_results_are_refused_before_any_work(
        self, fake: FaceAnalysis, album: Path, tmp_path: Path
    ):
        output = tmp_path / "results" / "output"
        output.parent.mkdir()
        looked_at: list[float] = []
        for made_before in (False, True):
            if made_before:
                output.mkdir()
            with read_only(output.parent), pytest.raises(FileError, match="--output") as raised:
                analyze_album(
                    fake, [album], output, on_progress=lambda told: looked_at.append(told.done)
                )
            assert FORBIDDEN in str(raised.value)
        assert not looked_at and contents(output) == {}

    @pytest.mark.parametrize("resume", [True, False], ids=["resumed", "fresh"])
    def test_what_an_earlier_run_found_stays(
        self, fake: FaceAnalysis, album: Path, tmp_path: Path, resume: bool
    ):
        output = tmp_path / "output"
        write_results(analyze_album(fake, [album], output), fake, output, "jsonl")
        before = contents(output)
        (album / "more.png").write_bytes(odd_files.encoded(with_faces(2, shade=50), "PNG"))
        for locked in (output, output / "parts"):
            with read_only(locked), pytest.raises(FileError, match=FORBIDDEN):
                analyze_album(fake, [album], output, AlbumOptions(resume=resume))
            assert contents(output) == before
        assert analyze_album(fake, [album], output).progress.kept == 3

    @pytest.mark.parametrize("kind", ["parquet", "jsonl"])
    def test_the_table_can_be_written_later(
        self, fake: FaceAnalysis, album: Path, tmp_path: Path, kind: str
    ):
        if kind == "parquet":
            pytest.importorskip("pyarrow")
        output = tmp_path / "output"
        found = analyze_album(fake, [album], output)
        before = contents(output)
        with read_only(output), pytest.raises(FileError, match=FORBIDDEN):
            write_results(found, fake, output, kind)
        assert contents(output) == before
        assert write_results(found, fake, output, kind).table.exists()


class TestNodes:
    """Everything else that nodes write: said with what to do, and nothing half there."""

    @pytest.mark.parametrize(
        ("node_id", "inputs"),
        [
            ("FastFaceEmbeddingSave", lambda _: {"embedding": embedding_of(1), "name": "Anna"}),
            ("FastFaceVideo", lambda app: film_of(app, "csv")),
            ("FastFaceVideo", lambda app: film_of(app, "jsonl")),
            ("FastFaceVideo", lambda app: film_of(app, "parquet")),
        ],
        ids=["embedding", "csv", "jsonl", "parquet"],
    )
    def test_what_they_write(
        self,
        node_id: str,
        inputs: Callable[[FaceAnalysis], dict[str, Any]],
        fake: FaceAnalysis,
        working_folder: Path,
    ):
        given = inputs(fake)
        if given.get("write") == "parquet":
            pytest.importorskip("pyarrow")
        (working_folder / "cache").mkdir()
        before = contents(working_folder)
        with read_only(working_folder):
            (working_folder / "cache").chmod(0o755)
            with pytest.raises(FileError, match=FORBIDDEN):
                run_node(node_id, **given)
            written = contents(working_folder)
        assert {name for name in written if not name.startswith("cache/")} == set(before)

    def test_face_models_of_reactor(self, working_folder: Path):
        folder = working_folder / "faces"
        folder.mkdir()
        face = Face({field: np.ones(3, np.float32) for field in FIELDS})
        save_face_model(face, folder, "Anna")
        before = contents(folder)
        for name in ("Anna", "Berta"):
            with read_only(folder), pytest.raises(FileError, match=FORBIDDEN):
                save_face_model(face, folder, name)
        assert contents(folder) == before

    def test_a_film_is_analysed_though_nothing_of_it_can_be_kept(
        self, fake: FaceAnalysis, working_folder: Path, caplog: pytest.LogCaptureFixture
    ):
        (working_folder / "cache").mkdir()
        with read_only(working_folder / "cache"), caplog.at_level(logging.WARNING):
            _, _, _, count = run_node("FastFaceVideo", **film_of(fake, "none"))
        assert count == 3
        assert len(caplog.records) == 1 and FORBIDDEN in caplog.text


def film_of(app: FaceAnalysis, write: str) -> dict[str, Any]:
    return {"faceanalysis": app, "images": images_with(1, 2, 0), "write": write}


class TestModels:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[str]:
        (tmp_path / "served").mkdir()
        (tmp_path / "served" / "model.onnx").write_bytes(b"weights" * 1000)

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given, directory=str(tmp_path / "served"))

            def log_message(self, format: str, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{serving.server_address[1]}/model.onnx"
            serving.shutdown()

    def test_downloads(self, server: str, tmp_path: Path):
        models = tmp_path / "models"
        (models / "there").mkdir(parents=True)
        (models / "there" / "other.onnx").write_bytes(b"before")
        for target in (models / "model.onnx", models / "there" / "model.onnx"):
            with read_only(models), pytest.raises(DownloadError, match="right to write"):
                download_file(server, target)
        assert contents(models) == {"there/other.onnx": b"before"}
        download_file(server, models / "model.onnx")

    @pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
    def test_a_pack_in_one_is_used(self, backend: str, test_data: Path, tmp_path: Path):
        """The whole way from a fresh process, in which no cache folder can be written to."""
        models, home = tmp_path / "models", tmp_path / "home"
        shutil.copytree(test_data / "models", models)
        home.mkdir()
        photo = cv2.imread(str(test_data / "images" / "Stallone.jpg"))
        assert photo is not None
        np.save(tmp_path / "photo.npy", photo)
        script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from install import import_pack
import_pack("fastface")
from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.loading import load_for_pack
from fastface.utils.packs.read import read_pack
from pathlib import Path
pack = read_pack("read-only", Path({str(models)!r}))
app = load_for_pack(pack, DetectionOptions(), {backend!r}, "cpu")
face, *_ = app.get(np.load({str(tmp_path / "photo.npy")!r}))
print("embedding:", face.embedding.shape)
"""
        with read_only(models, home):
            done = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "XDG_CACHE_HOME": str(home), "HOME": str(home)},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "embedding: (128,)" in done.stdout
        assert contents(home) == {}


def test_root_is_bound_by_the_rights_of_files_here_and_then_no_more(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    with bound_by_rights(), pytest.raises(PermissionError):
        (folder / "file").touch()
    folder.chmod(0o755)
    (folder / "file").touch()

"""Every writer of the pack, killed at every moment: nothing is half, and the next start clears up.

A writer runs in a forked process that kills itself (SIGKILL) at one of its file operations: each
is a moment once. Then the pack starts again, and what the writer does is done again.
"""

from __future__ import annotations

import gc
import hashlib
import io
import logging
import os
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.trt.engines import EngineKey, EngineStore
from fastface.benchmark.history import last_like, remember
from fastface.installer.pack_commands import bench
from fastface.pipeline.album import album_analysis
from fastface.pipeline.album.album import AlbumOptions
from fastface.pipeline.album.album_analysis import AlbumAnalyst, analyze_album
from fastface.pipeline.album.album_results import write_results
from fastface.pipeline.album.album_store import AlbumStore
from fastface.pipeline.film import TABLE_FORMATS
from fastface.pipeline.film.segments import FilmStore, Segment, films_folder
from fastface.pipeline.film.tables import write_table
from fastface.pipeline.insightface_compat.face import Face
from fastface.pipeline.insightface_compat.face_model import (
    FIELDS,
    face_models_folder,
    save_face_model,
)
from fastface.pipeline.leftovers import clear_all_leftovers
from fastface.utils.download import transfer
from fastface.utils.download.fetch import download_file, download_pack
from fastface.utils.embedding import Embedding
from fastface.utils.embedding_file import load_embedding, save_embedding
from fastface.utils.faces import Faces
from fastface.utils.files import write_whole
from fastface.utils.gallery import clusters
from fastface.utils.gallery.contents import Gallery, with_added, with_deleted
from fastface.utils.gallery.gallery_store import GalleryStore
from fastface.utils.host import folders
from fastface.utils.packs.known import KnownPack
from fastface.utils.pictures import read_picture, write_picture
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.tracks import FilmSource, Tracks
from fastface.utils.unfinished import clear_leftovers
from fastface.utils.video.encode import write_film
from tests.nodes.fakes import SteadyRecogniser, analysis_of
from tests.utils.download.conftest import FileServer, file_server
from tests.utils.gallery.people import SPACE, person

__all__ = ["file_server"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

#: What it tells: `pytest --log-cli-level=INFO tests/test_killed_writers.py`.
_log = logging.getLogger(__name__)

#: Audit events of file operations begin with these, and are none of these.
_KINDS = ("open", "os", "shutil", "fcntl", "tempfile")
_OTHERS = ("os.kill", "os.fork", "os.putenv", "os.unsetenv")
#: A writer that takes longer hangs, and is ended by a signal that the test does not expect.
_LONGEST_SECONDS = 120


def ends_by_itself(work: Callable[[], object], kill_at: int) -> bool:
    """Runs work in a process of its own, killed at the file operation of this number.

    Returns:
        Whether it had fewer operations, and so ended by itself.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return False
        assert os.waitstatus_to_exitcode(status) == 0, "the writer failed"
        return True
    try:
        # What other tests left holds engines whose threads a fork has not: freeing them never ends.
        gc.disable()
        signal.alarm(_LONGEST_SECONDS)
        _kill_at(kill_at)
        work()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  the child must not go on as the test
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)


def _kill_at(number: int) -> None:
    """From now on this process counts its file operations, and dies at one."""
    left = number

    def moment() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, _arguments: Any) -> None:
        if event.partition(".")[0] in _KINDS and event not in _OTHERS:
            moment()

    sync = os.fsync

    def noted_sync(handle: int) -> None:
        moment()
        sync(handle)

    def write_in_halves(path: Path, content: bytes) -> int:
        with path.open("wb", buffering=0) as file:
            file.write(content[: len(content) // 2])
            moment()
            file.write(content[len(content) // 2 :])
        return len(content)

    os.fsync, Path.write_bytes = noted_sync, write_in_halves
    sys.addaudithook(audit)


def names_below(folder: Path) -> set[str]:
    """Files, and folders that are not finished."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.name.startswith(".")
    }


@dataclass
class Writer:
    """Something that writes.

    Attributes:
        write: Does it, from the working folder.
        check: Asserts that whatever is there is whole, old or new; gets whether all must be there.
        names: What is in the working folder when all is done.
        before: What is there from the beginning.
        kept: What may stay besides, between a kill and the next time it is done.
        start: What the pack does at its next start.
    """

    write: Callable[[], object]
    check: Callable[[bool], None]
    names: set[str]
    before: Callable[[], object] = lambda: None
    kept: frozenset[str] = frozenset()
    start: Callable[[], object] = clear_all_leftovers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings in which everything is written below the working folder, which is this one."""
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FASTFACE_MODELS", "packs")
    monkeypatch.setattr(transfer, "RETRY_PAUSE_SECONDS", 0)
    return tmp_path


def check_at_every_moment(
    writer: Writer, folder: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> int:
    moments = 0
    while True:
        place = folder / f"{moments}"
        (place / "packs").mkdir(parents=True)
        monkeypatch.chdir(place)
        folders._is_writable.cache_clear()
        writer.before()
        before = names_below(place)
        whole = ends_by_itself(writer.write, moments)
        writer.check(whole)
        writer.start()
        left = names_below(place) - writer.names - before
        assert left <= writer.kept, f"left behind after moment {moments}"
        writer.check(whole)
        if whole:
            assert names_below(place) == writer.names
            break
        assert ends_by_itself(writer.write, sys.maxsize)
        writer.check(True)
        assert names_below(place) == writer.names, f"after moment {moments} and another try"
        moments += 1
    _log.info("killed at %d moments", moments)
    assert moments >= least
    return moments


def whole_file(path: str, *contents: bytes) -> Callable[[bool], None]:
    """A check: a file is one of some, and the last of them when all is done."""

    def check(done: bool) -> None:
        here = Path(path)
        if done or here.exists():
            assert here.read_bytes() in (contents[-1:] if done else contents)

    return check


def test_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = b"old" * 9000, b"new" * 10_000
    path = "cache/comfyui-fastface/graphs/x.bin"
    writer = Writer(
        lambda: write_whole(Path(path), new),
        whole_file(path, old, new),
        {path},
        before=lambda: write_whole(Path(path), old),
    )
    check_at_every_moment(writer, folder, monkeypatch, 10)


def face_of(embedding: float) -> Face:
    values: dict[str, Any] = {key: np.zeros(4, np.float32) for key in FIELDS}
    values |= {"embedding": np.full(512, embedding, np.float32), "age": 30, "gender": 1}
    values["det_score"] = np.float32(0.9)
    return Face(values)


def test_a_face_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import load_file

    def check(done: bool) -> None:
        path = face_models_folder() / "anna.safetensors"
        embedding = set(load_file(path)["embedding"].tolist())
        assert embedding in ([{2.0}] if done else [{1.0}, {2.0}])

    writer = Writer(
        lambda: save_face_model(face_of(2), face_models_folder(), "anna"),
        check,
        {"models/reactor/faces/anna.safetensors"},
        before=lambda: save_face_model(face_of(1), face_models_folder(), "anna"),
    )
    check_at_every_moment(writer, folder, monkeypatch, 10)


GALLERY = Path("models", "fastface", "galleries", "friends")


@pytest.mark.parametrize("change", ["first", "added", "deleted", "undone"])
def test_a_gallery(folder: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    def before() -> None:
        if change != "first":
            for numbers in ([0, 1], [2]):
                people = [person(number) for number in numbers]
                GalleryStore(GALLERY).change(lambda old, p=people: with_added(old, p, SPACE))

    def write() -> None:
        store = GalleryStore(GALLERY)
        if change == "undone":
            # The other way round it would be undone again.
            if len(store.read()) == 3:
                store.undo()
            store.change(lambda old: old)
        elif change == "deleted":
            store.change(
                lambda old: with_deleted(old, "person 0") if "person 0" in old.names else old
            )
        else:
            store.change(lambda old: with_added(old, [person(7)], SPACE))

    def names_after() -> tuple[str, ...]:
        gallery = GalleryStore(GALLERY).read() if GalleryStore(GALLERY).exists() else Gallery()
        return gallery.names

    expected = {
        "first": ((), ("person 7",)),
        "added": (
            ("person 0", "person 1", "person 2"),
            ("person 0", "person 1", "person 2", "person 7"),
        ),
        "deleted": (("person 0", "person 1", "person 2"), ("person 1", "person 2")),
        "undone": (("person 0", "person 1", "person 2"), ("person 0", "person 1")),
    }[change]

    def check(done: bool) -> None:
        assert names_after() in (expected[1:] if done else expected)

    place = folder / "whole"
    place.mkdir()
    monkeypatch.chdir(place)
    before()
    write()
    names = names_below(place)
    kept = frozenset(
        path.as_posix()
        for path in (GALLERY / "gallery.lock", GALLERY / "undo.json", GALLERY / "gallery.json")
    )
    writer = Writer(write, check, names, before=before, kept=kept)
    check_at_every_moment(writer, folder, monkeypatch, 10)


def test_a_saved_embedding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("models", "fastface", "embeddings", "anna.safetensors")

    def save(value: float) -> None:
        save_embedding(path, Embedding(torch.full((1, 512), float(value)), "space"), {"pack": "x"})

    def check(done: bool) -> None:
        embedding, _ = load_embedding(path)
        assert set(embedding.vector.flatten().tolist()) in ([{2.0}] if done else [{1.0}, {2.0}])

    writer = Writer(lambda: save(2), check, {path.as_posix()}, before=lambda: save(1))
    check_at_every_moment(writer, folder, monkeypatch, 10)


def test_a_picture_and_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)

    def write() -> None:
        write_picture(Path("demo_output", "faces.png"), picture)
        bench._write_text(Path("demo_output", "RESULTS.md"), "# all of it\n")

    write_picture(folder / "first.png", picture)  # imports are no moments of ours

    def check(done: bool) -> None:
        file = Path("demo_output", "faces.png")
        if done or file.exists():
            assert np.array_equal(read_picture(file), picture)
        whole_file("demo_output/RESULTS.md", b"# all of it\n")(done)

    # A folder of the user's choice is looked into by the commands that write there, not by ComfyUI.
    names = {"demo_output/faces.png", "demo_output/RESULTS.md"}
    writer = Writer(write, check, names, start=lambda: clear_leftovers(Path("demo_output")))
    check_at_every_moment(writer, folder, monkeypatch, 20)


def result(made: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "made": made,
        "machine": {"cpu": "x", "cores": 2, "gpus": []},
        "settings": {"rounds": 5},
        "weights": {"name": "models"},
        "cases": [],
    }


def test_the_history_of_benchmarks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("cache", "comfyui-fastface", "benchmarks.jsonl")

    def check(done: bool) -> None:
        latest = last_like(result("now"), path)
        assert latest is not None and latest["made"] in (["new"] if done else ["old", "new"])

    writer = Writer(
        lambda: remember(result("new"), path),
        check,
        {path.as_posix()},
        before=lambda: remember(result("old"), path),
    )
    check_at_every_moment(writer, folder, monkeypatch, 4)


KEY = EngineKey(
    model="scrfd.onnx",
    content="c0ffee",
    task="detection",
    precision="fp16",
    graph="1",
    shapes=((1, 3, 128, 128), (8, 3, 640, 640), (32, 3, 1024, 1024)),
    takes_batches=True,
    library="tensorrt 11.4.0",
    device="GeForce RTX 4090 (sm89)",
)


def test_engines_with_notes_and_timings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = replace(KEY, library="tensorrt 11.5.0")
    old, new = b"old" * 4000, b"new" * 5000

    def write() -> None:
        store = EngineStore()
        store.save(newer, new, {"seconds": 2})
        store.save_timings(newer.library, newer.device, new)

    def check(done: bool) -> None:
        store = EngineStore()
        there = {key: store.load(key) for key in store.listed()}
        assert set(there.items()) <= {(KEY, old), (newer, new)} and there
        assert store.timings(newer.library, newer.device) in ((new,) if done else (b"", new))
        if done:
            assert set(there) == {newer} and store.facts(newer)["seconds"] == 2
        notes = {path.stem for path in store.folder.glob("*.json")}
        assert notes <= {path.stem for path in store.folder.glob("*.engine")}

    timings = EngineStore(folder)._timings(newer.library, newer.device).name
    inside = "cache/comfyui-fastface/tensorrt"
    stem = Path(newer.file_name).stem
    names = {f"{inside}/{name}" for name in (f"{stem}.engine", f"{stem}.json", timings)}
    writer = Writer(write, check, names, before=lambda: EngineStore().save(KEY, old, {}))
    check_at_every_moment(writer, folder, monkeypatch, 30)


DETECTOR = bytes(range(256)) * 4000


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("det", "rec"):
            archive.writestr(f"tiny/tiny/{name}.onnx", DETECTOR)
    return made.getvalue()


@pytest.fixture
def tiny(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> KnownPack:
    """A pack that can be downloaded here."""
    file_server.content = zipped()
    digest = hashlib.sha256(DETECTOR).hexdigest()
    pack = KnownPack(name="tiny", files={"det.onnx": digest, "rec.onnx": digest})
    monkeypatch.setattr(KnownPack, "url", file_server.url)
    monkeypatch.setattr(KnownPack, "licence", "free")
    monkeypatch.setattr("fastface.pipeline.leftovers.KNOWN_PACKS", {"tiny": pack})
    return pack


@pytest.mark.parametrize("how", ["anew", "added to", "put there by hand"])
def test_a_pack_is_downloaded_and_unpacked(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny: KnownPack,
    file_server: FileServer,
    how: str,
) -> None:
    def before() -> None:
        Path("packs", "tiny").mkdir(parents=True)
        if how == "added to":
            Path("packs", "tiny", "det.onnx").write_bytes(DETECTOR)
        else:
            Path("packs", "tiny").rmdir()
        if how == "put there by hand":
            Path("packs", "tiny.zip").write_bytes(file_server.content)

    def check(done: bool) -> None:
        for name in ("det.onnx", "rec.onnx"):
            whole_file(f"packs/tiny/{name}", DETECTOR)(done)
        whole_file("packs/tiny.zip", file_server.content)(False)

    writer = Writer(
        lambda: download_pack(tiny, Path("packs")),
        check,
        {"packs/tiny/det.onnx", "packs/tiny/rec.onnx"},
        before,
        # What the next download goes on from, or the whole zip that it unpacks.
        frozenset({"packs/tiny.zip.part", "packs/tiny.zip.part.json", "packs/tiny.zip"}),
    )
    check_at_every_moment(writer, folder, monkeypatch, 30)


def test_a_pack_of_single_files_is_downloaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file_server: FileServer
) -> None:
    file_server.content = DETECTOR
    digest = hashlib.sha256(DETECTOR).hexdigest()
    names = ("det.onnx", "rec.onnx")
    pack = KnownPack(
        name="tiny",
        files=dict.fromkeys(names, digest),
        urls=dict.fromkeys(names, file_server.url),
    )
    monkeypatch.setattr(KnownPack, "licence", "free")
    monkeypatch.setattr("fastface.pipeline.leftovers.KNOWN_PACKS", {"tiny": pack})

    def check(done: bool) -> None:
        for name in names:
            whole_file(f"packs/tiny/{name}", DETECTOR)(done)
        assert Path("packs/tiny/det.onnx").exists() == Path("packs/tiny/rec.onnx").exists()

    writer = Writer(
        lambda: download_pack(pack, Path("packs")),
        check,
        {f"packs/tiny/{name}" for name in names},
        kept=frozenset(f"packs/tiny.{name}.part{note}" for name in names for note in ("", ".json")),
    )
    check_at_every_moment(writer, folder, monkeypatch, 30)


def test_a_file_of_weights_is_downloaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file_server: FileServer
) -> None:
    file_server.content = DETECTOR
    digest = hashlib.sha256(DETECTOR).hexdigest()
    entry = SimpleNamespace(url=file_server.url, file_name="weights.pt")
    monkeypatch.setattr("fastface.pipeline.leftovers.EMBEDDING_WEIGHTS", {"x": entry})
    monkeypatch.setattr("fastface.pipeline.leftovers.weight_folders", lambda: (Path("weights"),))
    writer = Writer(
        lambda: download_file(file_server.url, Path("weights", "weights.pt"), sha256=digest),
        whole_file("weights/weights.pt", DETECTOR),
        {"weights/weights.pt"},
        kept=frozenset({"weights/weights.pt.part", "weights/weights.pt.part.json"}),
    )
    check_at_every_moment(writer, folder, monkeypatch, 15)


def tracks_of(frames: int) -> Tracks:
    faces = Faces.empty([(4, 6)] * frames)
    source = FilmSource(None, (4, 6), 0, Fraction(25), "c0ffee")
    times = [number / 25 for number in range(frames)]
    return link(faces, times, list(range(frames)), source)


def test_what_is_kept_of_a_film(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def segment(is_last: bool) -> Segment:
        return Segment(
            Faces.empty([(4, 6)] * 60),
            np.arange(60),
            np.arange(60) / 25,
            np.zeros(60, np.float32),
            np.zeros((36, 64), np.uint8),
            is_last,
        )

    def store() -> FilmStore:
        return FilmStore(films_folder(), {"film": "c0ffee"})

    def write() -> None:
        kept = store()
        kept.write(0, segment(False))
        kept.write(60, segment(True))

    monkeypatch.chdir(folder)
    write()  # imports are no moments of ours

    def check(done: bool) -> None:
        lengths = [len(each) for each in store().read()]
        assert lengths in ([[60, 60]] if done else [[], [60], [60, 60]])

    inside = f"cache/comfyui-fastface/films/{store().folder.name}"
    names = {f"{inside}/00000000.faces", f"{inside}/00000060.faces"}
    check_at_every_moment(Writer(write, check, names), folder, monkeypatch, 20)


@pytest.mark.parametrize("kind", TABLE_FORMATS)
def test_a_table_of_faces(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = Path("output", f"faces_00001_.{kind}")
    tracks = tracks_of(3)
    write_table(folder / "first", tracks, kind)  # imports are no moments of ours
    whole = (folder / "first").read_bytes()
    (folder / "first").unlink()
    writer = Writer(
        lambda: write_table(path, tracks, kind),
        whole_file(path.as_posix(), whole),
        {path.as_posix()},
        start=lambda: clear_leftovers(path.parent),
    )
    check_at_every_moment(writer, folder, monkeypatch, 8)


def test_a_film(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    path = Path("temp", "film.mp4")
    pictures = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)

    def write(file: Path = path) -> None:
        frames = ((number / 25, picture) for number, picture in enumerate(pictures))
        write_film(file, frames, (48, 64), Fraction(25))

    write(folder / "first.mp4")  # imports are no moments of ours
    whole = (folder / "first.mp4").read_bytes()
    (folder / "first.mp4").unlink()
    writer = Writer(
        write,
        whole_file(path.as_posix(), whole),
        {path.as_posix()},
        start=lambda: clear_leftovers(path.parent),
    )
    check_at_every_moment(writer, folder, monkeypatch, 8)


def test_an_album(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "photos").mkdir()
    for number in range(4):
        write_picture(
            folder / "photos" / f"{number}.png", np.full((64, 96, 3), 26 + number, np.uint8)
        )
    app = analysis_of(("detection", "recognition"), folder, SteadyRecogniser)
    monkeypatch.setattr(album_analysis, "_AT_ONCE", 1)
    monkeypatch.setattr(album_analysis, "_PART_FILES", 2)
    # Its threads are not there in a forked process, which waits for them.
    monkeypatch.setattr(clusters, "installed_faiss", lambda: None)
    output = Path("output")

    def write() -> None:
        album = analyze_album(app, [folder / "photos"], output)
        write_results(album, app, output, "jsonl")

    monkeypatch.chdir(folder)
    write()  # imports are no moments of ours
    whole = (output / "faces.jsonl").read_bytes()
    shutil.rmtree(output)

    def check(done: bool) -> None:
        names = {"faces.jsonl", "people.html", "album.json"}
        there = {name for name in names if (output / name).exists()}
        assert there == names or not done
        if "faces.jsonl" in there:
            assert (output / "faces.jsonl").read_bytes() == whole
        # Every part that is there is whole: the next run takes all of them.
        store = AlbumStore(output / "parts", AlbumAnalyst(app, folder, AlbumOptions()).key)
        parts = len(list((output / "parts").glob("*.part")))
        assert (store.open() == 2 * parts and parts == 2) or not done

    names = {f"output/parts/{number:08d}.part" for number in range(2)}
    names |= {f"output/{name}" for name in ("faces.jsonl", "people.html", "album.json")}

    def start() -> None:
        clear_leftovers(output)
        clear_leftovers(output / "parts")

    writer = Writer(write, check, names, kept=frozenset({"output/album.lock"}), start=start)
    check_at_every_moment(writer, folder, monkeypatch, 30)

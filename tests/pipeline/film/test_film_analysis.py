"""Films from file to tracks: what single images give, at bounded memory, and on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av")

from fastface.pipeline.film import ACCURACIES, EXACT, FAST, segments
from fastface.pipeline.film.chunks import chunks_of
from fastface.pipeline.film.film_analysis import FilmAnalysis, analyze_film
from fastface.pipeline.film.sparse import full_every
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils import host
from fastface.utils.ahead import ahead
from fastface.utils.boxes import overlaps
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.video.film import FilmFile
from fastface.utils.video.selection import Selection
from install import ROOT
from tests.nodes.fakes import CountingDetector, FakeBackend, SteadyRecogniser, analysis_of
from tests.utils.video.made import film, numbered

FIELDS = ("boxes", "scores", "landmarks", "image_index", "embeddings")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "films"


@pytest.fixture
def fake(tmp_path: Path) -> FaceAnalysis:
    return analysis_of(("detection", "recognition"), tmp_path, SteadyRecogniser)


@pytest.fixture
def detector(fake: FaceAnalysis) -> CountingDetector:
    backend = fake.analyzer.backend
    assert isinstance(backend, FakeBackend)
    return backend.detector


def with_faces(count: int, number: int) -> np.ndarray:
    """A picture of which the fake detector says that it has so many faces; no two are alike."""
    picture = numbered(number)
    picture[:16, :16] = round(count / 10 * 255)
    return picture


def assert_same(one: FilmAnalysis, other: FilmAnalysis) -> None:
    assert one.tracks.frames == other.tracks.frames and one.tracks.times == other.tracks.times
    assert torch.equal(one.tracks.ids, other.tracks.ids) and one.cuts == other.cuts
    assert one.tracks.faces.image_sizes == other.tracks.faces.image_sizes
    for name in FIELDS:
        got, expected = (getattr(each.tracks.faces, name) for each in (one, other))
        assert torch.equal(got, expected), name


@pytest.fixture(scope="module")
def walking(test_data: Path) -> FilmFile:
    return FilmFile(test_data / "images" / "video.mp4")


@pytest.fixture(scope="module")
def real(test_data: Path) -> FaceAnalysis:
    pytest.importorskip("onnxruntime")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FASTFACE_MODELS", str(test_data / "models"))
        return load_face_analysis(model_pack="models", backend="onnxruntime", device="cpu")


class TestRealFilm:
    @pytest.fixture
    def exact(self, real: FaceAnalysis, walking: FilmFile) -> Faces:
        return analyze_film(real, walking, Selection(end_seconds=2.0), EXACT).tracks.faces

    def test_exact_gives_what_single_images_give(
        self, real: FaceAnalysis, walking: FilmFile, exact: Faces
    ):
        for frame in walking.read(np.arange(0, 50, 10)):
            alone = real.analyze(Images.from_comfy(frame.pixels[None]), ["recognition"])
            ours = exact.of_image(frame.number)
            assert len(ours) == len(alone) > 0
            for name in FIELDS:
                assert torch.equal(getattr(ours, name), getattr(alone, name)), (frame.number, name)

    def test_fast_finds_nearly_all_of_them(
        self, real: FaceAnalysis, walking: FilmFile, exact: Faces
    ):
        found = analyze_film(real, walking, Selection(end_seconds=2.0), FAST)
        fast, met = found.tracks.faces, 0
        assert found.full_every == 5
        for place in range(50):
            ours, theirs = fast.of_image(place), exact.of_image(place)
            if place % 5 == 0 or place == 49:
                assert torch.equal(ours.boxes, theirs.boxes), place
            if len(ours) and len(theirs):
                met += int((overlaps(theirs.boxes, ours.boxes).amax(1) > 0.5).sum())
        assert met / len(exact) > 0.97
        assert len(fast) < 1.1 * len(exact)
        assert fast.embeddings is not None and fast.embedding_space == exact.embedding_space


def test_decoding_stays_a_few_chunks_ahead():
    opened = FilmFile(film(300, keys=30))
    buffers, most = set(), 0
    with ahead(chunks_of(opened, np.arange(300), 8, with_next=True), "test") as chunks:
        count = 0
        for chunk in chunks:
            buffers.add(chunk.pixels.data_ptr())
            most = max(most, len(chunk.pixels))
            count += len(chunk)
            chunk.release()
    assert count == 300 and most == 9
    assert len(buffers) <= 4, "buffers are used again"


def test_chunks_hold_what_was_decoded():
    opened = FilmFile(film(30))
    for chunk in chunks_of(opened, np.arange(30), 8, with_next=True):
        expected = [frame.pixels for frame in opened.read(np.array(chunk.numbers))]
        assert torch.equal(chunk.pixels[: len(chunk)], torch.stack(expected))
        assert chunk.has_next == (chunk.numbers[-1] != 29)
        chunk.release()


def test_an_error_of_the_decoder_is_raised_where_frames_are_taken():
    def broken():
        yield 1
        raise InvalidInput("broken")

    with pytest.raises(InvalidInput, match="broken"), ahead(broken(), "test") as items:
        list(items)


def test_a_decoder_that_is_left_ends():
    ended = []

    def endless():
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    with ahead(endless(), "test") as items:
        next(items)
    assert ended == [True]


@pytest.fixture
def opened() -> FilmFile:
    return FilmFile(film([with_faces(n // 50 % 4, n) for n in range(300)], keys=25))


#: Runs in a process of its own: a fork has no threads of torch and OpenCV, which it would wait for.
_KILLED = """
import os, signal, sys
from pathlib import Path
from install import import_pack

import_pack("fastface")
from fastface.pipeline.film.film_analysis import analyze_film
from fastface.utils import host
from fastface.utils.video.film import FilmFile
from fastface.utils.video.selection import Selection
from install import ROOT
from tests.nodes.fakes import SteadyRecogniser, analysis_of

folder, accuracy, kill_at = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
host.cache_folder = lambda: folder / "cache"

def progress(done, total):
    if done >= kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

film = FilmFile(folder / "film.mp4")
fake = analysis_of(("detection", "recognition"), folder, SteadyRecogniser)
analyze_film(fake, film, Selection(), accuracy, on_progress=progress)
"""


@pytest.mark.parametrize("accuracy, kill_at", [(EXACT, 10), (EXACT, 140), (FAST, 140), (FAST, 299)])
def test_goes_on_where_it_was_killed(
    fake: FaceAnalysis,
    opened: FilmFile,
    tmp_path: Path,
    own_cache: Path,
    accuracy: str,
    kill_at: int,
):
    assert isinstance(opened._source, bytes)
    (tmp_path / "film.mp4").write_bytes(opened._source)
    command = [sys.executable, "-c", _KILLED, str(tmp_path), accuracy, str(kill_at)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    after = analyze_film(fake, opened, Selection(), accuracy)
    assert kill_at - 120 < after.kept <= kill_at
    assert after.kept > 0 or kill_at < 60
    assert not list(own_cache.rglob("*.tmp"))
    assert_same(after, analyze_film(fake, opened, Selection(), accuracy, resume=False))


def test_a_finished_film_is_not_decoded_again(
    fake: FaceAnalysis, opened: FilmFile, monkeypatch: pytest.MonkeyPatch
):
    first = analyze_film(fake, opened, Selection())
    assert first.kept == 0 and len(first.tracks.frames) == 300
    monkeypatch.setattr(FilmFile, "_read", None)
    again = analyze_film(fake, FilmFile(opened._source), Selection())
    assert again.kept == 300
    assert_same(again, first)


@pytest.mark.parametrize("harm", ["cut", "changed", "missing"])
def test_what_is_damaged_is_found_anew(
    fake: FaceAnalysis, opened: FilmFile, own_cache: Path, harm: str
):
    first = analyze_film(fake, opened, Selection())
    files = sorted(own_cache.rglob("*.faces"))
    assert len(files) >= 4
    content = files[2].read_bytes()
    if harm == "missing":
        files[2].unlink()
    else:
        files[2].write_bytes(content[:-9] if harm == "cut" else content[:-9] + bytes(9))
    again = analyze_film(fake, opened, Selection())
    assert 0 < again.kept == int(files[2].stem)
    assert_same(again, first)
    assert analyze_film(fake, opened, Selection()).kept == 300


def test_other_settings_are_another_film(fake: FaceAnalysis, opened: FilmFile):
    analyze_film(fake, opened, Selection())
    assert analyze_film(fake, opened, Selection(every_nth=2)).kept == 0
    assert analyze_film(fake, opened, Selection(), FAST).kept == 0
    fake.max_faces = 1
    assert analyze_film(fake, opened, Selection()).kept == 0
    other = FilmFile(film([with_faces(1, n) for n in range(300)]))
    assert analyze_film(fake, other, Selection()).kept == 0


def test_the_films_used_longest_ago_go(
    fake: FaceAnalysis, opened: FilmFile, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    parts = [Selection(end_seconds=seconds) for seconds in (1.0, 2.0, 3.0)]
    for number, part in enumerate(parts):
        analyze_film(fake, opened, part)
        for folder in own_cache.iterdir():
            os.utime(folder, (number, min(number, folder.stat().st_mtime)))
    bytes_of_all = sum(file.stat().st_size for file in own_cache.rglob("*.faces"))
    monkeypatch.setenv("FASTFACE_FILM_CACHE_LIMIT", str(bytes_of_all * 13 // 10))
    analyze_film(fake, opened, Selection(end_seconds=4.0))
    kept = [analyze_film(fake, opened, part).kept for part in reversed(parts)]
    assert kept == [75, 0, 0]


def test_what_can_not_be_kept_costs_nothing_else(
    fake: FaceAnalysis,
    opened: FilmFile,
    own_cache: Path,
    caplog: pytest.LogCaptureFixture,
):
    own_cache.parent.mkdir(parents=True)
    own_cache.write_bytes(b"a file where the folder should be")
    found = analyze_film(fake, opened, Selection())
    assert len(found.tracks.frames) == 300
    assert caplog.text.count("is not kept for a later run") == 1


def test_broken_frames_are_told(fake: FaceAnalysis):
    content = bytearray(film(40, codec="mjpeg", container="avi", pixels="yuvj420p"))
    starts = [at for at in range(len(content) - 2) if content.startswith(b"\xff\xd8\xff", at)]
    content[starts[9] : starts[10] - 16] = bytes(starts[10] - 16 - starts[9])
    found = analyze_film(fake, FilmFile(bytes(content)), Selection())
    assert found.wanted == 40 and len(found.tracks.frames) == 39 and len(found.broken) == 1


def test_cuts_are_found_and_no_others(fake: FaceAnalysis):
    rng = np.random.default_rng(0)
    scenes = [
        rng.integers(0, 255, (12, 30, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(3)
    ]
    # Each scene moves by two pixels a frame.
    pictures = [
        np.ascontiguousarray(scene[:, 2 * n : 2 * n + 160]) for scene in scenes for n in range(30)
    ]
    opened = FilmFile(film(pictures))
    assert analyze_film(fake, opened, Selection()).cuts == (30, 60)
    fast = analyze_film(fake, opened, Selection(), FAST)
    assert fast.cuts == (30, 60)


def test_is_stopped_between_chunks_and_keeps_what_it_has(fake: FaceAnalysis, opened: FilmFile):
    class Stop(BaseException):
        pass

    def progress(done: float, total: int) -> None:
        assert total == 300
        if done >= 200:
            raise Stop

    with pytest.raises(Stop):
        analyze_film(fake, opened, Selection(), on_progress=progress)
    assert analyze_film(fake, opened, Selection()).kept >= 100


def test_how_often_frames_are_analysed_in_full():
    for rate, every in ((25, 5), (30, 6), (60, 10), (10, 2), (5, 1), (1, 1)):
        assert full_every(np.arange(100) / rate) == every
    assert full_every(np.zeros(1)) == 1


def test_segments_hold_all_that_was_found():
    faces = Faces.empty([(4, 6)] * 3).with_fields()
    segment = segments.Segment(
        faces,
        np.array([1, 3, 5]),
        np.array([0.1, 0.2, 0.3]),
        np.array([0, 1, 2], np.float32),
        np.zeros((36, 64), np.uint8),
        True,
    )
    again = segments.Segment.from_bytes(segment.to_bytes())
    assert again.is_last and again.faces.image_sizes == faces.image_sizes
    assert again.numbers.tolist() == [1, 3, 5] and again.times.tolist() == [0.1, 0.2, 0.3]
    for garbage in (b"", b"x" * 100, segment.to_bytes()[:-1]):
        with pytest.raises(segments.DamagedFile):
            segments.Segment.from_bytes(garbage)
    assert ACCURACIES == (EXACT, FAST)

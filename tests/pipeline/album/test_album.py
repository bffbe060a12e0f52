"""Albums from folder to rows: everything analysed or reported, kept, and gone on with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastface.pipeline.album import album_analysis, reading
from fastface.pipeline.album.album import Album, AlbumOptions, AlbumProgress
from fastface.pipeline.album.album_analysis import analyze_album
from fastface.pipeline.album.album_table import FaceName, write_album
from fastface.pipeline.album.reading import ReadingLimits
from fastface.pipeline.album.records import FileRecord
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils import host
from fastface.utils.errors import InvalidInput
from fastface.utils.file_kinds import FileKind
from install import ROOT
from tests.nodes.fakes import BOXES, CountingDetector, FakeBackend, SteadyRecogniser, analysis_of
from tests.pipeline.album import odd_files

SIZE_WH = (96, 64)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")


@pytest.fixture
def fake(tmp_path: Path) -> FaceAnalysis:
    return analysis_of(("detection", "recognition"), tmp_path, SteadyRecogniser)


@pytest.fixture
def detector(fake: FaceAnalysis) -> CountingDetector:
    backend = fake.analyzer.backend
    assert isinstance(backend, FakeBackend)
    return backend.detector


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "album" / "below").mkdir(parents=True)
    return tmp_path / "album"


def with_faces(count: int, shade: int = 90) -> Image.Image:
    """A picture of which the fake detector says that it has so many faces."""
    pixels = np.full((SIZE_WH[1], SIZE_WH[0], 3), shade, np.uint8)
    pixels[:16, :16] = round(count / 10 * 255)
    return Image.fromarray(pixels)


def records(album: Album) -> dict[str, FileRecord]:
    return {record.path: record for record in album.records()}


def analyzed(fake: FaceAnalysis, folder: Path, **options: object) -> dict[str, FileRecord]:
    output = folder.parent / "output"
    return records(analyze_album(fake, [folder], output, AlbumOptions(**options)))


def assert_same(one: dict[str, FileRecord], other: dict[str, FileRecord]) -> None:
    assert list(one) == list(other)
    for path, record in one.items():
        same = other[path]
        names = ("kind", "size", "content", "notes", "problem", "thumbnails", "frames", "tracks")
        for name in names:
            assert getattr(record, name) == getattr(same, name), (path, name)
        for name, tensor in record.faces.tensors():
            assert torch.equal(tensor, getattr(same.faces, name)), (path, name)
        assert record.faces.image_sizes == same.faces.image_sizes


def test_every_form_of_a_picture_is_analysed(fake: FaceAnalysis, folder: Path):
    picture = with_faces(2)
    files = odd_files.good_files(picture)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    found = analyzed(fake, folder)
    assert set(found) == set(files)
    for name, record in found.items():
        assert not record.problem, name
        assert record.faces.image_sizes == ((SIZE_WH[1], SIZE_WH[0]),), name
        assert record.faces.boxes.tolist() == BOXES[:2], name
        assert len(record.thumbnails) == 2 and record.thumbnails[0].startswith(b"\xff\xd8"), name
    assert found["animated.gif"].notes == ("animated: its first picture",)
    assert found["animated.webp"].notes == ("animated: its first picture",)
    assert found["pages.tif"].notes == ("of several pages: the first",)
    assert "colour profile" in found["bad profile.png"].notes[0]
    assert found["jpeg in truth.png"].kind is FileKind.JPEG


@pytest.mark.skipif(os.name == "nt", reason="there are neither such names nor such files")
def test_everything_bad_is_reported_and_nothing_special_is_opened(fake: FaceAnalysis, folder: Path):
    bad = odd_files.bad_files(with_faces(1))
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    expected = {name: says for name, (_, says) in bad.items()}
    expected |= odd_files.special_files(folder)
    assert {"pipe.jpg", "loop", "itself.jpg"} <= set(expected)
    (folder / "good.png").write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    found = analyzed(fake, folder)
    assert set(found) == {*expected, "good.png"}
    assert len(found.pop("good.png").faces) == 1
    for name, record in found.items():
        assert re.search(expected[name], record.problem), (name, record.problem)
        assert not record.images and not len(record.faces)


def test_links_are_followed_where_asked_for_and_lead_nowhere_twice(
    fake: FaceAnalysis, folder: Path
) -> None:
    odd_files.special_files(folder)
    (folder / "below" / "one.png").write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    (folder / "linked.png").symlink_to("below/one.png")
    (folder / "back").symlink_to(folder / "below", target_is_directory=True)
    found = analyzed(fake, folder, limits=ReadingLimits(follow_links=True))
    assert {name for name, record in found.items() if not record.problem} == {
        "below/one.png",
        "linked.png",
    }
    assert "walked anyway" in found["back"].problem and "walked anyway" in found["loop"].problem
    assert "symbolic links" in found["itself.jpg"].problem
    assert "FIFO" in found["pipe.jpg"].problem


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_odd_names_are_right_in_every_output(fake: FaceAnalysis, folder: Path, kind: str):
    names = [*odd_files.ODD_NAMES, os.fsdecode(odd_files.NOT_UNICODE)]
    for name in names:
        (folder / "below" / name).write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    album = analyze_album(fake, [folder], folder.parent / "output")
    paths = [f"below/{name}" for name in names]
    assert sorted(records(album)) == sorted(paths)
    rows = written(album, folder.parent / f"faces.{kind}", kind)
    told = {row["path"]: row.get("path_bytes") for row in rows}
    assert set(paths[:-1]) < set(told) and told[paths[0]] is None
    exact = told[r"below/latin-\udce9.png"]
    assert exact is not None
    assert (bytes.fromhex(exact) if kind == "jsonl" else exact) == b"below/" + odd_files.NOT_UNICODE


def written(album: Album, path: Path, kind: str) -> list[dict]:
    files = ((each, [FaceName()] * len(each.faces)) for each in album.records())
    if kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        write_album(path, files, kind, album.embedding_dim, {"embedding_space": "fake"})
        assert parquet.read_schema(path).metadata[b"embedding_space"] == b"fake"
        return parquet.read_table(path).to_pylist()
    write_album(path, files, kind, album.embedding_dim, {})
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_say_what_was_found(fake: FaceAnalysis, folder: Path):
    for count in (0, 1, 2):
        picture = odd_files.encoded(with_faces(count), "PNG")
        (folder / "below" / f"{count}.png").write_bytes(picture)
    (folder / "bad.png").write_bytes(b"no picture")
    album = analyze_album(fake, [folder], folder.parent / "output")
    assert album.faces == 3 and album.embedding_dim == 3
    images = written(album, folder.parent / "faces.jsonl", "jsonl")
    assert [image["path"] for image in images] == ["bad.png", *(f"below/{n}.png" for n in range(3))]
    assert "faces" not in images[0] and "first bytes" in images[0]["problem"]
    assert [len(image["faces"]) for image in images[1:]] == [0, 1, 2]
    assert (images[3]["width"], images[3]["height"]) == SIZE_WH
    face = images[3]["faces"][1]
    assert face["box"] == BOXES[1] and len(face["landmarks"]) == 5 and len(face["embedding"]) == 3
    rows = written(album, folder.parent / "faces.parquet", "parquet")
    assert [row["face"] for row in rows] == [None, None, 0, 0, 1]
    assert [row["left"] for row in rows[3:]] == [BOXES[0][0], BOXES[1][0]]
    assert np.float32(rows[4]["embedding"]).tolist() == np.float32(face["embedding"]).tolist()
    assert rows[1]["width"] == SIZE_WH[0] and rows[0]["width"] is None


def test_a_later_run_analyses_only_what_is_new(
    fake: FaceAnalysis, folder: Path, detector: CountingDetector
) -> None:
    for number in range(4):
        picture = odd_files.encoded(with_faces(1, 50 + number), "PNG")
        (folder / f"{number}.png").write_bytes(picture)
    first = analyzed(fake, folder)
    calls = detector.calls
    assert_same(analyzed(fake, folder), first)
    assert detector.calls == calls
    # Moved and copied files are known by what is in them.
    (folder / "0.png").rename(folder / "moved.png")
    shutil.copy(folder / "1.png", folder / "copied.png")
    (folder / "2.png").write_bytes(odd_files.encoded(with_faces(2, 77), "PNG"))
    (folder / "3.png").unlink()
    found = analyzed(fake, folder)
    assert sorted(found) == ["1.png", "2.png", "copied.png", "moved.png"]
    assert [len(found[name].faces) for name in sorted(found)] == [1, 2, 1, 1]
    assert detector.calls == calls + 1
    fresh = analyzed(fake, folder, resume=False)
    assert_same(fresh, found)
    assert detector.calls > calls + 1


def test_other_settings_use_nothing_that_was_kept(
    fake: FaceAnalysis, folder: Path, detector: CountingDetector
) -> None:
    (folder / "one.png").write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    analyzed(fake, folder)
    calls = detector.calls
    analyzed(fake, folder, limits=ReadingLimits(most_pixels=10_000))
    assert detector.calls == calls + 1


def test_a_damaged_part_is_analysed_again(fake: FaceAnalysis, folder: Path):
    (folder / "one.png").write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    first = analyzed(fake, folder)
    (part,) = (folder.parent / "output" / "parts").iterdir()
    part.write_bytes(part.read_bytes()[:-1])
    assert_same(analyzed(fake, folder), first)


def test_what_ends_a_run_leaves_what_was_found(
    fake: FaceAnalysis, folder: Path, detector: CountingDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album_analysis, "_AT_ONCE", 1)
    for number in range(6):
        picture = odd_files.encoded(with_faces(1, 50 + number), "PNG")
        (folder / f"{number}.png").write_bytes(picture)

    def stop(progress: AlbumProgress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze_album(fake, [folder], folder.parent / "output", on_progress=stop)
    calls = detector.calls
    assert calls == 3
    seen: list[AlbumProgress] = []
    album = analyze_album(
        fake, [folder], folder.parent / "output", on_progress=lambda now: seen.append(replace(now))
    )
    assert detector.calls == calls + 3 and album.faces == 6
    assert (seen[0].done, seen[0].kept) == (3, 3) and seen[-1].done == seen[-1].files == 6
    assert seen[-1].images == 3 and seen[-1].faces == 3


_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from install import import_pack
import_pack("fastface")
from fastface.pipeline.album import album_analysis
from tests.nodes.fakes import SteadyRecogniser, analysis_of
import os, signal
album_analysis._AT_ONCE, album_analysis._PART_FILES = 1, 2
fake = analysis_of(("detection", "recognition"), Path(sys.argv[2]), SteadyRecogniser)
def die(progress):
    if progress.done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
album_analysis.analyze_album(fake, [Path(sys.argv[3])], Path(sys.argv[4]), on_progress=die)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_run_is_gone_on_with(
    fake: FaceAnalysis, folder: Path, detector: CountingDetector, tmp_path: Path
) -> None:
    for number in range(8):
        picture = odd_files.encoded(with_faces(number % 3, 50 + number), "PNG")
        (folder / f"{number}.png").write_bytes(picture)
    output = folder.parent / "output"
    command = [sys.executable, "-c", _KILLED, str(ROOT), str(tmp_path), str(folder), str(output)]
    killed = subprocess.run(command, cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    album = analyze_album(fake, [folder], output)
    assert album.progress.kept == 4 and album.progress.images == 4
    whole = analyze_album(fake, [folder], tmp_path / "elsewhere")
    assert_same(records(album), records(whole))


def test_pictures_are_decoded_smaller_where_that_is_enough(fake: FaceAnalysis, folder: Path):
    large = with_faces(2).resize((960, 640), Image.Resampling.NEAREST)
    (folder / "large.jpg").write_bytes(odd_files.encoded(large, "JPEG", quality=95))
    full = analyzed(fake, folder)["large.jpg"]
    half = analyzed(fake, folder, limits=ReadingLimits(enough_side=480))["large.jpg"]
    assert half.notes == ("decoded at 1/2 of its size",) and not full.notes
    # The fake detector gives boxes in pixels of what it sees.
    assert half.faces.boxes.tolist() == (full.faces.boxes * 2).tolist()
    assert half.faces.image_sizes == full.faces.image_sizes == ((640, 960),)
    forced = analyzed(fake, folder, limits=ReadingLimits(most_pixels=100_000))["large.jpg"]
    assert forced.notes == ("decoded at 1/4 of its size",)


def test_memory_for_pictures_that_wait_is_bounded(
    fake: FaceAnalysis, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        picture = odd_files.encoded(with_faces(1, 50 + number), "PNG")
        (folder / f"{number:02d}.png").write_bytes(picture)
    monkeypatch.setattr(reading, "_LEAST_BYTES", 1)
    cost = 8 * SIZE_WH[0] * SIZE_WH[1]
    held: list[int] = []
    free = reading.mapped_ahead

    def spied(work, items, cost_of, name, threads, most):
        def taken(items):
            for item in items:
                held.append(1)
                yield item

        return free(work, taken(items), cost_of, name, threads, 3 * cost)

    monkeypatch.setattr(reading, "mapped_ahead", spied)
    root = folder
    files = list(album_analysis.walk(root, [root]))
    with reading.files_read_ahead(root, files, ReadingLimits(threads=8), lambda _: None) as read:
        first = next(read)
        assert first.record.path == "00.png"
        time.sleep(0.3)
        # Three may be there; one more was opened and waits.
        assert len(held) <= 5
        assert [one.record.path for one in read] == [f"{n:02d}.png" for n in range(1, 12)]


def test_a_second_run_in_the_same_folder_is_refused(fake: FaceAnalysis, folder: Path):
    (folder / "one.png").write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    output = folder.parent / "output"

    def second(_: AlbumProgress) -> None:
        with pytest.raises(InvalidInput, match="another run works"):
            analyze_album(fake, [folder], output)

    analyze_album(fake, [folder], output, on_progress=second)


def test_results_inside_the_album_are_not_taken_for_pictures_of_it(
    fake: FaceAnalysis, folder: Path
) -> None:
    (folder / "one.png").write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    for _ in range(2):
        album = analyze_album(fake, [folder], folder / "results")
        assert [file.path for file in album.files] == ["one.png"]
    with pytest.raises(InvalidInput, match="a folder of its own"):
        analyze_album(fake, [folder], folder)
    with pytest.raises(InvalidInput, match="not there"):
        analyze_album(fake, [folder / "missing"], folder / "results")


def test_several_paths_have_one_root(fake: FaceAnalysis, folder: Path):
    (folder / "below" / "one.png").write_bytes(odd_files.encoded(with_faces(1), "PNG"))
    (folder / "two.png").write_bytes(odd_files.encoded(with_faces(1, 9), "PNG"))
    paths = [folder / "below", folder / "two.png", folder / "below" / "one.png"]
    album = analyze_album(fake, paths, folder.parent / "output")
    assert album.root == folder and list(records(album)) == ["below/one.png", "two.png"]


def test_films_are_looked_at_every_so_many_seconds(fake: FaceAnalysis, folder: Path):
    pytest.importorskip("av")
    from tests.utils.video.made import film, numbered

    name = "film.mp4" if os.name == "nt" else os.fsdecode(b"film-\xe9.mp4")
    (folder / name).write_bytes(film([numbered(n) for n in range(50)]))
    every = analyzed(fake, folder, film_seconds=1.0)
    (record,) = every.values()
    assert not record.problem and record.kind is FileKind.FILM
    assert len(record.frames) == len(record.times) == record.images >= 2
    (out,) = analyzed(fake, folder, film_seconds=0.0).values()
    assert "left out" in out.problem

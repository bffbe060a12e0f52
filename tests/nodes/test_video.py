"""FastFaceVideo: what it takes, what it gives, what it says; films are read by other tests."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.nodes.video import FastFaceVideo
from fastface.pipeline.film.tables import COLUMNS
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import CACHES
from fastface.utils import host
from fastface.utils.errors import BackendUnavailable, InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.tracks.tracks import Tracks
from tests.nodes.fakes import CountingDetector, images_with


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")


def run(face_analysis: FaceAnalysis, **inputs: Any) -> tuple[Tracks, Faces, str, int]:
    node = NODE_CLASS_MAPPINGS["FastFaceVideo"]()
    answer = node.analyze(face_analysis, **inputs)  # pyright: ignore
    assert answer["ui"]["text"] == [answer["result"][2]]
    return answer["result"]


def test_the_faces_are_those_of_the_images(face_analysis: FaceAnalysis):
    images = images_with(1, 2, 0, 3, 1, 2)
    tracks, faces, report, count = run(face_analysis, images=images, fps=10.0)
    expected = face_analysis.analyze(Images.from_comfy(images), ["recognition"])
    assert count == 6 and tracks.frames == (0, 1, 2, 3, 4, 5)
    assert tracks.times == pytest.approx((0.0, 0.1, 0.2, 0.3, 0.4, 0.5))
    assert torch.equal(faces.boxes, expected.boxes)
    assert faces.per_image() == [1, 2, 0, 3, 1, 2]
    assert tracks.source.size_hw == (64, 96) and tracks.source.path is None
    assert "6 of 6 frames analysed, 96 x 64, 10 frames/s, from 0.00 s to 0.50 s" in report


@pytest.mark.parametrize(
    "inputs, frames",
    [
        ({"every_nth": 2}, (0, 2, 4)),
        ({"frames": 3}, (0, 2, 5)),
        ({"start_seconds": 0.1, "end_seconds": 0.3}, (1, 2)),
        ({"start_seconds": 0.4}, (4, 5)),
    ],
)
def test_part_of_the_frames(face_analysis: FaceAnalysis, inputs: dict, frames: tuple):
    tracks, faces, _, count = run(
        face_analysis, images=images_with(1, 2, 0, 3, 1, 2), fps=10.0, **inputs
    )
    assert tracks.frames == frames and count == len(frames)
    assert faces.per_image() == [[1, 2, 0, 3, 1, 2][number] for number in frames]


def test_a_second_run_detects_nothing(face_analysis: FaceAnalysis, detector: CountingDetector):
    images = images_with(*[1, 2] * 20)
    first = run(face_analysis, images=images)
    calls = detector.calls
    again = run(face_analysis, images=images)
    assert detector.calls == calls
    assert torch.equal(again[0].ids, first[0].ids)
    assert torch.equal(again[1].embeddings, first[1].embeddings)
    assert "40 frames were kept from an earlier run" in again[2]
    run(face_analysis, images=images, resume=False)
    run(face_analysis, images=images.flip(0))
    assert detector.calls == 3 * calls


def test_frames_are_not_remembered_as_images(face_analysis: FaceAnalysis):
    for cache in CACHES:
        cache.clear()
    run(face_analysis, images=images_with(*[1] * 30))
    assert not any(cache.status().entries for cache in CACHES)


def test_no_face_is_a_result(face_analysis: FaceAnalysis):
    tracks, faces, report, count = run(face_analysis, images=images_with(0, 0))
    assert len(faces) == 0 and count == 2 and tracks.track_ids() == []
    assert "no face in 2 images, 0 tracks" in report


class Video:
    """A VIDEO of tensors, as Create Video makes it."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.frame_rate = images, 25

    def get_components(self) -> Video:
        return self


def test_a_video_of_tensors(face_analysis: FaceAnalysis):
    tracks, faces, _, _ = run(face_analysis, video=Video(images_with(1, 2)))
    assert faces.per_image() == [1, 2] and tracks.times == pytest.approx((0.0, 0.04))


@pytest.mark.parametrize("given", [{}, {"images": images_with(1), "video": Video(images_with(1))}])
def test_exactly_one_film(face_analysis: FaceAnalysis, given: dict):
    with pytest.raises(InvalidInput, match="expected one of film, video and images"):
        run(face_analysis, **given)


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"video": 3}, "got int on the video input, expected a VIDEO"),
        ({"images": images_with()}, "without images"),
        ({"images": images_with(1), "start_seconds": 5.0}, "no frame lies from 5 s to its end"),
        (
            {"images": images_with(1), "start_seconds": 2.0, "end_seconds": 1.0},
            "expected more than",
        ),
        ({"images": images_with(1), "write": "csv", "filename_prefix": "../x"}, "prefix '../x'"),
    ],
)
def test_what_can_not_be_is_refused(face_analysis: FaceAnalysis, inputs: dict, words: str):
    with pytest.raises(InvalidInput, match=words):
        run(face_analysis, **inputs)


class TestFiles:
    def written(self, face_analysis: FaceAnalysis, kind: str) -> Path:
        images = images_with(1, 0, 2)
        _, _, report, _ = run(
            face_analysis, images=images, write=kind, filename_prefix="films/me", fps=10.0
        )
        assert report.endswith(f"written to films/me_00001_.{kind} in ComfyUI's output folder")
        return Path("output", "films", f"me_00001_.{kind}")

    def test_csv(self, face_analysis: FaceAnalysis):
        with self.written(face_analysis, "csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [tuple(row) for row in rows] == [COLUMNS] * 3
        assert [(row["frame"], row["time"], row["face"]) for row in rows] == [
            ("0", "0.0", "0"),
            ("2", "0.2", "0"),
            ("2", "0.2", "1"),
        ]
        assert [float(rows[0][side]) for side in ("left", "top", "right", "bottom")] == [
            10,
            5,
            30,
            35,
        ]
        assert rows[0]["name"] == "" and float(rows[0]["nose_x"]) == 20

    def test_jsonl(self, face_analysis: FaceAnalysis):
        file = self.written(face_analysis, "jsonl")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["frame"] for line in lines] == [0, 1, 2]
        assert [len(line["faces"]) for line in lines] == [1, 0, 2]
        face = lines[0]["faces"][0]
        assert face["box"] == [10, 5, 30, 35] and len(face["landmarks"]) == 5
        assert set(face) == {"face", "track", "name", "score", "box", "landmarks"}

    def test_parquet(self, face_analysis: FaceAnalysis):
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(self.written(face_analysis, "parquet"))
        assert table.column_names == [*COLUMNS, "embedding"]
        assert table["frame"].to_pylist() == [0, 2, 2]
        assert table["left"].to_pylist() == [10, 10, -6]
        assert len(table["embedding"][0].as_py()) == 3
        assert table.schema.metadata[b"embedding_space"]

    def test_parquet_without_pyarrow(
        self, face_analysis: FaceAnalysis, monkeypatch: pytest.MonkeyPatch
    ):
        from fastface.pipeline.film import tables

        monkeypatch.setattr(tables, "has_module", lambda name: False)
        with pytest.raises(BackendUnavailable, match="pip install pyarrow"):
            run(face_analysis, images=images_with(1), write="parquet")
        assert not Path("output").exists()

    def test_none_is_replaced(self, face_analysis: FaceAnalysis):
        self.written(face_analysis, "csv")
        _, _, report, _ = run(
            face_analysis, images=images_with(1), write="csv", filename_prefix="films/me"
        )
        assert "films/me_00002_.csv" in report
        assert len(list(Path("output", "films").iterdir())) == 2


def test_runs_again_when_the_film_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    film = tmp_path / "input" / "film.mp4"
    film.parent.mkdir()
    film.write_bytes(b"one")
    before = FastFaceVideo.IS_CHANGED(film="film.mp4")
    assert FastFaceVideo.IS_CHANGED(film="film.mp4") == before
    film.write_bytes(b"other")
    assert FastFaceVideo.IS_CHANGED(film="film.mp4") != before
    assert FastFaceVideo.IS_CHANGED(film="other.mp4") == "gone"


def test_says_how_far_it_is(face_analysis: FaceAnalysis, monkeypatch: pytest.MonkeyPatch):
    from fastface.pipeline.film import film_analysis

    said: list[tuple[str | None, str]] = []
    monkeypatch.setattr(film_analysis, "_SHOW_SECONDS", 0.0)
    monkeypatch.setattr(host, "show_now", lambda *told: said.append(told))
    run(face_analysis, images=images_with(*[1] * 40), node_id="7")
    assert said and all(node_id == "7" for node_id, _ in said)
    assert re.fullmatch(r"frame 40 of 40, [0-9.e+]+ frames/s, 0:00 left", said[-1][1])

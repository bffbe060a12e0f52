"""FastFaceVideo in a real ComfyUI: films from its own nodes and folders, tables in its output."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui.comfyui_server import ComfyServer
from tests.comfyui.prompts import SCRFD, Prompt, loader, node, show

pytestmark = pytest.mark.comfyui

FILM = "walking.mp4"


@pytest.fixture
def with_film(comfyui: ComfyServer) -> ComfyServer:
    folder = os.environ.get("FASTFACE_TEST_DATA")
    if not folder:
        pytest.skip("FASTFACE_TEST_DATA names no folder with real weights and photos")
    pytest.importorskip("av")
    from fastface.utils.video.film import FilmFile
    from tests.utils.video.made import film

    walking = FilmFile(Path(folder) / "images" / "video.mp4")
    frames = walking.read(np.arange(30))
    content = film([np.ascontiguousarray(frame.pixels[::2, ::2]) for frame in frames])
    (comfyui.base / "input" / FILM).write_bytes(content)
    (comfyui.base / "input" / "text.mp4").write_text("no film")
    return comfyui


def video(**changes: Any) -> dict[str, Any]:
    inputs = {
        "film": "(from video or images)",
        "every_nth": 10,
        "frames": 0,
        "start_seconds": 0.0,
        "end_seconds": 0.0,
        "accuracy": "exact",
        "write": "none",
        "filename_prefix": "films/faces",
        "resume": True,
        "fps": 25.0,
    }
    return node("FastFaceVideo", faceanalysis=["loader", 0], **inputs | changes)


def test_films_from_every_side_are_one(with_film: ComfyServer):
    prompt: Prompt = {
        "loader": loader(**SCRFD),
        "load": node("LoadVideo", file=FILM),
        "parts": node("GetVideoComponents", video=["load", 0]),
        "again": node("CreateVideo", images=["parts", 0], fps=25.0),
        "from file": video(film=FILM, write="csv"),
        "from video": video(video=["load", 0]),
        "from tensors": video(video=["again", 0]),
        "from images": video(images=["parts", 0]),
        "count": show("from video", 3),
    }
    outputs = with_film.run(prompt)
    assert outputs["count"]["text"] == ["3"]
    reports = {name: outputs[name]["text"][0] for name in prompt if name.startswith("from")}
    for report in reports.values():
        assert "3 of 30 frames analysed, 960 x 540, 25 frames/s" in report
    file = with_film.base / "output" / "films" / "faces_00001_.csv"
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert f"{len(rows)} faces in 3 images" in reports["from file"]
    assert sorted({int(row["frame"]) for row in rows}) == list(range(0, 30, 10))
    # The same film is one, by whatever way it comes.
    kept = "3 frames were kept from an earlier run"
    assert sum(kept in reports[name] for name in ("from file", "from video")) == 1


def test_text_is_refused(with_film: ComfyServer):
    answer = with_film.result(
        with_film.queue({"loader": loader(**SCRFD), "video": video(film="text.mp4")})
    )
    assert "text.mp4 can't be opened as a film" in str(answer["status"])

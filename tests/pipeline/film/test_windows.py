"""Small windows of frames: where they are cut, and that what is found in them is where it was."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.film.windows import Window, faces_in_windows
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.images import Images


def photo(test_data: Path) -> torch.Tensor:
    cv2 = pytest.importorskip("cv2")
    bgr = cv2.imread(str(test_data / "images" / "multiface.jpg"))
    return torch.from_numpy(np.ascontiguousarray(bgr[:, :, ::-1]))[None]


def loaded(folder: Path) -> FaceAnalysis:
    pytest.importorskip("onnxruntime")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FASTFACE_MODELS", str(folder))
        return load_face_analysis(model_pack=folder.name, backend="onnxruntime", device="cpu")


@pytest.fixture(params=["scrfd_2.5g_bnkps", "yunet_n_640_640"])
def app(request: pytest.FixtureRequest, test_data: Path, tmp_path: Path) -> FaceAnalysis:
    """A detector that takes any size, and one that takes one alone."""
    folder = "models" if request.param.startswith("scrfd") else "detectors"
    (tmp_path / "pack").mkdir()
    shutil.copy(test_data / folder / f"{request.param}.onnx", tmp_path / "pack")
    return loaded(tmp_path / "pack")


@pytest.mark.parametrize("scale", [1, 2])
def test_faces_are_found_where_they_were(app: FaceAnalysis, test_data: Path, scale: int):
    pixels = photo(test_data).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    options = replace(app.options(), sizes_wh=((640, 640),))
    whole = app.analyzer.detect(Images.from_comfy(pixels), options).to("cpu")
    assert len(whole) == 6
    frames = torch.cat([pixels, torch.zeros_like(pixels)])
    windows = [
        Window(place, box + np.float32(3 * scale), 2.0)
        for box in whole.boxes.numpy()
        for place in (0, 1)
    ]
    found = faces_in_windows(app.analyzer, frames, windows, options)
    assert set(found) == {0}, "nothing is in the black frame"
    sides = (whole.boxes[:, 2:] - whole.boxes[:, :2]).amax(1).numpy()
    assert whole.landmarks is not None
    for box, points, side in zip(whole.boxes, whole.landmarks, sides, strict=True):
        nearest = min(found[0], key=lambda each: np.abs(each.box - box.numpy()).max())
        assert np.abs(nearest.box - box.numpy()).max() < 0.15 * side
        assert nearest.landmarks is not None
        assert np.abs(nearest.landmarks - points.numpy()).max() < 0.08 * side


def test_a_network_of_one_size_gets_many_windows_at_once(
    app: FaceAnalysis, test_data: Path, monkeypatch: pytest.MonkeyPatch
):
    pixels, sizes = photo(test_data), []
    real = type(app.analyzer).detect

    def counted(self, images, options, *further):
        sizes.append((len(images), images.sizes_hw[0]))
        return real(self, images, options, *further)

    boxes = app.analyzer.detect(Images.from_comfy(pixels), app.options()).boxes.numpy()
    monkeypatch.setattr(type(app.analyzer), "detect", counted)
    faces_in_windows(
        app.analyzer, pixels, [Window(0, box, 1.6) for box in boxes], DetectionOptions()
    )
    if app.analyzer.fixed_size_wh is None:
        assert sum(count for count, _ in sizes) >= len(boxes)
        assert all(count % 8 == 0 for count, _ in sizes), "few shapes"
    else:
        assert all(count == 1 and min(size) > 256 for count, size in sizes)


def test_many_windows_take_no_more_at_once_than_half_a_frame(
    app: FaceAnalysis, test_data: Path, monkeypatch: pytest.MonkeyPatch
):
    """Engines keep what their largest batch took, and films have shots with many faces."""
    pixels, batches = photo(test_data), []
    real = type(app.analyzer).detect

    def counted(self, images, options, *further):
        (height, width), *_ = images.sizes_hw
        batches.append((len(images), height * width))
        return real(self, images, options, *further)

    monkeypatch.setattr(type(app.analyzer), "detect", counted)
    whole = app.analyzer.detect(Images.from_comfy(pixels), app.options()).to("cpu")
    batches.clear()
    windows = [Window(place, box, 2.0) for box in whole.boxes.numpy() for place in range(30)]
    found = faces_in_windows(
        app.analyzer, pixels.expand(30, -1, -1, -1), windows, DetectionOptions()
    )
    assert all(len(found[place]) >= 6 for place in range(30)), "of every batch"
    if app.analyzer.fixed_size_wh is None:
        assert len(batches) > 4
        assert all(count * each <= 640 * 320 or count == 8 for count, each in batches)


def test_faces_of_any_size_fit_a_window(app: FaceAnalysis):
    pixels = torch.full((1, 720, 1280, 3), 90, dtype=torch.uint8)
    boxes = [
        np.array(box, np.float32)
        for box in ([0, 0, 9, 9], [-50, -50, 20, 20], [100, 0, 900, 720], [1270, 710, 1290, 730])
    ]
    windows = [Window(0, box, around) for box in boxes for around in (1.6, 4.0)]
    assert faces_in_windows(app.analyzer, pixels, windows, DetectionOptions()) == {}

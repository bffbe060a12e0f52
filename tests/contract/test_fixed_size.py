"""A detector whose network takes one input size: what is said is what runs, close-ups included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import AUTO_SIZES, describe_loaded, load_for_pack
from fastface.utils.packs.read import read_pack


@pytest.fixture(scope="module")
def fixed_pack(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real detector, declared for 640 x 640 alone as some exports are."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(test_data / "models" / "scrfd_2.5g_bnkps.onnx"))
    shape = model.graph.input[0].type.tensor_type.shape
    for dim, size in zip(shape.dim, (1, 3, 640, 640), strict=True):
        dim.dim_value = size
    folder = tmp_path_factory.mktemp("fixed")
    onnx.save(model, str(folder / "detector.onnx"))
    return folder


@pytest.fixture(params=["onnxruntime", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "onnxruntime":
        pytest.importorskip("onnxruntime")
    return request.param


def loaded(folder: Path, sizes_wh: tuple[tuple[int, int], ...], backend: str) -> FaceAnalysis:
    pack = read_pack("fixed", folder)
    return load_for_pack(pack, DetectionOptions(sizes_wh), backend=backend, device="cpu")


def test_both_sizes_run_and_close_ups_are_found(
    fixed_pack: Path, test_data: Path, close_up: np.ndarray, backend: str
):
    app = loaded(fixed_pack, AUTO_SIZES, backend)
    assert app.det_size == [(128, 128), (640, 640)] and app.det_model.input_size == (640, 640)
    assert (
        "detection at 128 x 128 + 640 x 640 (this pack's detector takes 640 x 640 alone)"
        in describe_loaded(app)
    )
    (face,) = app.get(close_up)
    assert loaded(fixed_pack, ((640, 640),), backend).get(close_up) == []
    (expected,) = loaded(test_data / "models", AUTO_SIZES, backend).get(close_up)
    # On a larger canvas the convolutions see black instead of the padding's zeros at the border.
    apart = np.abs(face.kps - expected.kps).max()
    assert apart < 0.02 * (expected.bbox[3] - expected.bbox[1])


def test_what_is_larger_than_the_network_takes_is_not_claimed(fixed_pack: Path, backend: str):
    app = loaded(fixed_pack, ((1024, 1024),), backend)
    assert app.det_size == app.det_model.input_size == (640, 640)
    assert "detection at 640 x 640 (this pack's" in describe_loaded(app)


def test_shrink_loops_find_the_close_up(fixed_pack: Path, close_up: np.ndarray, backend: str):
    app = loaded(fixed_pack, ((640, 640),), backend)
    sides = []
    for side in range(640, 128, -64):
        app.det_model.input_size = (side, side)
        assert app.det_model.input_size == (side, side)
        if app.get(close_up):
            sides.append(side)
    assert sides and max(sides) == 320


def test_insightface_itself_runs_one_size_and_says_so(fixed_pack: Path, close_up: np.ndarray):
    pytest.importorskip("insightface")
    app = loaded(fixed_pack, AUTO_SIZES, "insightface")
    assert app.det_size == (640, 640) and app.get(close_up) == []
    assert "detection at 640 x 640 (this pack's" in describe_loaded(app)

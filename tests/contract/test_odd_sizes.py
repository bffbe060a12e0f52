"""Input sizes that upstream's detectors fail at, and loops that come to them, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastface.backends.registry import get_backend
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from tests.contract.compare import BOX_PX

BACKENDS = ("onnxruntime", "torch", "openvino", "insightface")
Load = Callable[..., FaceAnalysis]
#: Ways in which consumers ask for a size.
WAYS: dict[str, Callable[[Any, np.ndarray, Any], list]] = {}


def way(ask: Callable[[Any, np.ndarray, Any], list]) -> Callable[[Any, np.ndarray, Any], list]:
    WAYS[ask.__name__] = ask
    return ask


@way
def prepare(app: Any, image: np.ndarray, size: Any) -> list:
    app.prepare(ctx_id=0, det_size=size)
    return app.get(image)


@way
def input_size(app: Any, image: np.ndarray, size: Any) -> list:
    app.det_model.input_size = size
    return app.get(image)


@way
def one_call(app: Any, image: np.ndarray, size: Any) -> list:
    return app.get(image, det_size=size)


@pytest.fixture(params=BACKENDS)
def on_backend(request: pytest.FixtureRequest, load: Load) -> FaceAnalysis:
    if reason := get_backend(request.param).why_unavailable():
        pytest.skip(reason)
    return load(backend=request.param)


@pytest.mark.parametrize(
    "size",
    [(650, 650), (500, 333), (333, 500), (1, 1), (31, 640), np.array([645.5, 645.5])],
    ids=str,
)
def test_no_multiple_of_32(on_backend: FaceAnalysis, load: Load, crowd: np.ndarray, size: Any):
    """Upstream counts anchors in whole strides; here the canvas is padded to whole strides."""
    expected = input_size(load(), crowd, size)
    assert len(expected) == (5 if min(size) > 300 else 0)
    for ask in WAYS.values():
        faces = ask(on_backend, crowd, size)
        assert len(faces) == len(expected)
        for mine, theirs in zip(faces, expected, strict=True):
            assert np.abs(mine.bbox - theirs.bbox).max() < BOX_PX


def test_several_sizes_of_which_one_is_odd(on_backend: FaceAnalysis, load: Load, crowd: np.ndarray):
    sizes = [(128, 128), (650, 650)]
    expected = input_size(load(), crowd, sizes)
    faces = input_size(on_backend, crowd, sizes)
    assert len(faces) == len(expected) == 5
    for mine, theirs in zip(faces, expected, strict=True):
        assert np.abs(mine.bbox - theirs.bbox).max() < BOX_PX


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (3, 1999), (1999, 2)], ids=str)
def test_pictures_thinner_than_a_few_pixels(on_backend: FaceAnalysis, shape: tuple[int, int]):
    """Upstream's resize fails where nothing is left of them."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for ask in WAYS.values():
        assert ask(on_backend, image, (640, 640)) == []


@pytest.mark.parametrize("size", [(-1, 640), (0, 640), (640, 0), "large", [], (1 << 20, 1 << 20)])
@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_wrong_sizes_are_refused_and_change_nothing(
    app: FaceAnalysis, landscape: np.ndarray, ask: Callable[..., list], size: Any
):
    with pytest.raises(InvalidInput, match="expected"):
        ask(app, landscape, size)
    assert app.det_size == (640, 640)


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_a_loop_that_halves_until_there_is_a_face_ends(
    app: FaceAnalysis, landscape: np.ndarray, ask: Callable[..., list]
):
    """With insightface 0.7 it ended in a ZeroDivisionError, with 2.1 earlier, at (80, 80)."""
    side, tried = 640, []
    with pytest.raises(InvalidInput, match="makes the size smaller until a face is found"):
        while not ask(app, landscape, (side, side)):
            tried.append(side)
            side //= 2
    assert tried == [640, 320, 160, 80, 40, 20, 10, 5, 2, 1]
    assert ask(app, landscape, None) == [], "and the next image begins anew"


def test_a_close_up_is_found_on_the_way(app: FaceAnalysis, close_up: np.ndarray):
    side = 640
    while not (faces := input_size(app, close_up, (side, side))):
        side //= 2
    assert side == 320 and len(faces) == 1


@pytest.mark.parametrize("value", [None, "high", float("nan"), [0.5, 0.6]], ids=str)
def test_thresholds_that_are_none(app: FaceAnalysis, landscape: np.ndarray, value: Any):
    app.det_model.det_thresh = value
    with pytest.raises(InvalidInput, match=r"got det_thresh .* expected a number"):
        app.get(landscape)


@pytest.mark.parametrize("value", ["all", 1.5, float("nan"), [1]], ids=str)
def test_numbers_of_faces_that_are_none(app: FaceAnalysis, landscape: np.ndarray, value: Any):
    with pytest.raises(InvalidInput, match=r"got max_num .* expected a whole number"):
        app.get(landscape, max_num=value)


def test_numbers_of_faces_in_all_forms(app: FaceAnalysis, crowd: np.ndarray):
    for value in (None, 0, 0.0, np.int64(0), False):
        assert len(app.get(crowd, max_num=value)) == 5
    for value in (2, 2.0, np.float32(2), "2"):
        assert len(app.get(crowd, max_num=value)) == 2
    assert len(app.get(crowd, max_num=2, det_metric=["max"])) == 2  # type: ignore[arg-type]

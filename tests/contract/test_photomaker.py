"""PhotoMaker-Plus: a method replaced on the object, once, and pictures in RGB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from tests.contract.compare import assert_same_faces


def patch(insightface: Any) -> None:
    """Gives `get` a size of its own, as the pack does whenever its node runs."""
    if hasattr(insightface, "get_"):
        return

    def get(self: Any, img: np.ndarray, max_num: int = 0, det_size: Any = (640, 640)) -> list:
        if det_size is not None:
            self.det_model.input_size = det_size
        return self.get_(img, max_num)

    insightface.get_ = insightface.get
    insightface.get = get.__get__(insightface, insightface.__class__)


def analyse(insightface: Any, picture: np.ndarray) -> list:
    sizes = [None, *((side, side) for side in range(640, 256, -64)), (256, 256)]
    return next(filter(None, (insightface.get(picture, det_size=size) for size in sizes)), [])


def test_a_patched_method_is_called_and_reaches_the_first(app: FaceAnalysis, close_up: np.ndarray):
    patch(app)
    first = app.get
    patch(app)
    assert app.get == first and app.get_.__func__ is FaceAnalysis.get
    assert app.get(close_up) == []
    assert len(analyse(app, close_up)) == 1
    assert app.det_model.input_size == (320, 320)


def test_other_objects_of_the_same_models_stay_as_they_were(
    load: Callable[[], FaceAnalysis], crowd: np.ndarray
):
    patched, other = load(), load()
    patch(patched)
    assert patched.analyzer is other.analyzer
    assert not hasattr(other, "get_") and "get" not in vars(other)
    patched.get(crowd, det_size=(320, 320))
    assert other.det_model.input_size == (640, 640)


class TestSizeOfOneCall:
    """photomakerV2_native and StoryDiffusion derive a class whose `get` takes `det_size`."""

    @pytest.mark.parametrize("det_size", [(320, 320), [(128, 128), (640, 640)], (0, 0), None])
    def test_as_upstreams_derived_class(
        self, app: FaceAnalysis, upstream: Any, close_up: np.ndarray, det_size: Any
    ):
        def theirs(img: np.ndarray) -> list:
            """`FaceAnalysis2.get`, whose `input_size` has no effect since insightface 1.0."""
            before = upstream.det_model.input_sizes
            try:
                if det_size is not None:
                    upstream.det_model.prepare(0, input_size=det_size)
                return upstream.get(img, 0)
            finally:
                upstream.det_model.prepare(0, input_size=before)

        expected = theirs(close_up)
        assert len(expected) == (det_size is not None)
        assert_same_faces(app.get(close_up, det_size=det_size), expected)
        assert app.det_model.input_size == (640, 640), "it is for one call"
        assert app.get(close_up) == []

    def test_a_wrong_size_is_refused(self, app: FaceAnalysis, close_up: np.ndarray):
        with pytest.raises(InvalidInput, match="640"):
            app.get(close_up, det_size=640)

    def test_a_replaced_detect_is_given_it(self, app: FaceAnalysis, close_up: np.ndarray):
        detect, seen = app.det_model.detect, []

        def noting(img: np.ndarray, **choices: Any) -> Any:
            seen.append(choices.get("input_size"))
            return detect(img, **choices)

        app.det_model.detect = noting
        assert app.get(close_up) == [] and len(app.get(close_up, det_size=(320, 320))) == 1
        assert seen == [None, (320, 320)]


def test_rgb_gives_what_upstream_gives_for_rgb(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    patch(app)
    rgb = crowd[:, :, ::-1]
    theirs = upstream.get(rgb)
    assert_same_faces(analyse(app, rgb), theirs)
    swapped = theirs[0].normed_embedding @ app.get(crowd)[0].normed_embedding
    assert swapped < 0.999, "the picture should tell RGB from BGR"


@pytest.mark.parametrize("name", ["get_", "liveness", "no_such_thing"])
def test_what_is_not_there_is_not_there(app: FaceAnalysis, name: str):
    assert not hasattr(app, name)
    assert not hasattr(app.det_model, name)

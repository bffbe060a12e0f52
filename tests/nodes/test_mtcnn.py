"""MTCNN's parameters on their way from the node to the detector."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.nodes.mtcnn import FastFaceMTCNN
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.utils.errors import InvalidInput
from tests.nodes.fakes import FakeBackend


def test_the_defaults_are_the_librarys():
    mtcnn = pytest.importorskip("facenet_pytorch").MTCNN(keep_all=True)
    declared = FastFaceMTCNN.INPUT_TYPES()["required"]
    defaults = {
        name: options.get("default", kind[0] if isinstance(kind, list) else None)
        for name, (kind, options) in declared.items()
    }
    (parameters,) = FastFaceMTCNN().give(**defaults)
    assert parameters == MtcnnParameters()
    assert parameters.min_face_size == mtcnn.min_face_size
    assert list(parameters.thresholds) == mtcnn.thresholds
    assert parameters.factor == mtcnn.factor and parameters.margin == mtcnn.margin


def test_each_input_is_where_it_belongs():
    (parameters,) = FastFaceMTCNN().give(40, 0.1, 0.2, 0.3, 0.5, 14, "largest")
    assert parameters == MtcnnParameters(40, (0.1, 0.2, 0.3), 0.5, 14, "largest")


@pytest.mark.parametrize(
    "change",
    [
        {"min_face_size": 0},
        {"thresholds": (0.5, 0.5)},
        {"thresholds": (0.5, 1.5, 0.5)},
        {"factor": 1.0},
        {"factor": 0.0},
        {"margin": -1},
        {"margin": 160},
        {"selection_method": "smallest"},
    ],
)
def test_values_out_of_range_are_refused(change: dict):
    ((name, value),) = change.items()
    with pytest.raises(InvalidInput) as refused:
        MtcnnParameters(**change)
    assert f"got {name} {value!r}, expected" in str(refused.value)


def test_other_backends_refuse_them():
    with pytest.raises(InvalidInput, match="does not run it; choose a model_pack that begins with"):
        FakeBackend().with_parameters(MtcnnParameters())


def test_they_reach_the_detector_and_are_said(test_data):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("facenet_pytorch")
    photo = cv2.imread(str(test_data / "images" / "multiface.jpg"))

    def found(**values) -> int:
        parameters = MtcnnParameters(**values)
        app = load_face_analysis(model_pack="facenet-mtcnn", device="cpu", mtcnn=parameters)
        assert f"{parameters.min_face_size} pixels and more" in describe_loaded(app)
        return len(app.get(np.ascontiguousarray(photo)))

    assert found() == 6
    assert found(selection_method="largest") == 1
    assert found(min_face_size=400) == 0
    # Each loader has its own: the models are shared, the parameters are not.
    assert found() == 6

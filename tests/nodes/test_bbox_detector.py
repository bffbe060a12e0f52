from __future__ import annotations

from typing import Any

import pytest
import torch

from fastface.nodes.bbox_detector import BBoxDetector, FastFaceBBoxDetector
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from tests.nodes.fakes import SIZE_HW, images_with


@pytest.fixture
def detector(face_analysis: FaceAnalysis) -> BBoxDetector:
    return FastFaceBBoxDetector().make(face_analysis, "box")["result"][0]


def test_faces_as_segs(detector: BBoxDetector):
    size_hw, segs = detector.detect(images_with(3), 0.5, 0, 1.5, 10)
    assert size_hw == SIZE_HW
    assert [seg.bbox for seg in segs] == [(10, 5, 30, 35), (0, 40, 14, 64), (40, 20, 80, 60)]
    assert [round(seg.confidence, 2) for seg in segs] == [0.9, 0.8, 0.7]
    assert all(seg.label == "face" for seg in segs)
    left, top, right, bottom = segs[2].crop_region
    assert segs[2].cropped_mask.shape == (bottom - top, right - left)
    assert segs[2].cropped_image.shape == (1, bottom - top, right - left, 3)


def test_no_face(detector: BBoxDetector):
    assert detector.detect(images_with(0), 0.5, 4, 3.0, 10) == (SIZE_HW, [])
    assert not detector.detect_combined(images_with(0), 0.5, 4).any()


def test_small_faces_are_dropped_and_masks_dilated(detector: BBoxDetector):
    image = images_with(3)
    (seg,) = detector.detect(image, 0.5, 0, 3.0, 25)[1]
    (dilated,) = detector.detect(image, 0.5, 5, 3.0, 25)[1]
    assert seg.cropped_mask.sum() == 40 * 40
    assert dilated.cropped_mask.sum() == 50 * 49  # the image ends 4 pixels below the face
    assert detector.detect_combined(images_with(1), 0.5, 0).sum() == 20 * 30


def test_the_threshold_is_that_of_the_call(face_analysis: FaceAnalysis, monkeypatch):
    seen: list[float] = []
    model: Any = face_analysis.analyzer.model("detection")
    detect = model.detect

    def noting(batch: Any, options: Any) -> Any:
        seen.append(options.threshold)
        return detect(batch, options)

    monkeypatch.setattr(model, "detect", noting)
    detector = BBoxDetector(face_analysis, "ellipse")
    detector.setAux("face")
    for threshold in (0.25, 0.75, 0.0):
        detector.detect(images_with(1), threshold, 0, 3.0)
    assert seen == [0.25, 0.75, 0.001]
    assert face_analysis.det_thresh == 0.5


def test_a_hook_changes_regions_and_segs(detector: BBoxDetector):
    class Hook:
        def post_crop_region(self, w: int, h: int, bbox: Any, region: Any) -> Any:
            assert (h, w) == SIZE_HW and len(bbox) == len(region) == 4
            return 0, 0, w, h

        def post_detection(self, segs: Any) -> Any:
            return segs[0], segs[1][:1]

    _, (seg,) = detector.detect(images_with(3), 0.5, 0, 3.0, detailer_hook=Hook())
    assert seg.cropped_mask.shape == SIZE_HW and seg.cropped_mask.sum() == 20 * 30


def test_pixels_that_are_none_are_refused(detector: BBoxDetector):
    with pytest.raises(InvalidInput, match="image: "):
        detector.detect(torch.full((1, 8, 8, 3), float("nan")), 0.5, 0, 3.0)

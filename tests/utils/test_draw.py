"""Keypoint images, InsightFace's drawing, and annotations at every size."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastface.utils import draw
from fastface.utils.errors import BackendUnavailable, InvalidInput
from fastface.utils.faces import Faces
from tests.other_packs import function_of

FACE = np.array([[40, 50], [88, 48], [65, 80], [45, 105], [85, 104]], dtype=np.float32)


def faces_with(boxes: list[list[float]], size_hw: tuple[int, int]) -> Faces:
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    spread = torch.tensor([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.75], [0.65, 0.75]])
    return Faces(
        boxes=corners,
        scores=torch.linspace(0.99, 0.5, len(corners)),
        image_index=torch.zeros(len(corners), dtype=torch.int64),
        image_sizes=(size_hw,),
        landmarks=corners[:, None, :2] + spread * (corners[:, 2:] - corners[:, :2])[:, None],
    )


class TestKeypoints:
    def test_no_face_is_black(self):
        image = draw.draw_keypoints(None, (4, 6))
        assert image.shape == (4, 6, 3) and image.dtype == np.uint8 and not image.any()

    def test_points_limbs_and_background(self):
        image = draw.draw_keypoints(FACE, (128, 128))
        red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
        yellow, magenta = (255, 255, 0), (255, 0, 255)
        for (x, y), colour in zip(FACE, (red, green, blue, yellow, magenta), strict=True):
            assert tuple(image[int(y), int(x)]) == colour
        for point, dim in ((0, (153, 0, 0)), (1, (0, 153, 0)), (3, (153, 153, 0))):
            x, y = (FACE[point] + FACE[2]) / 2
            assert tuple(image[int(y), int(x)]) == dim
        assert not image[0].any() and not image[:, 0].any()
        x, y = FACE[0].astype(int)
        assert image[y, x - 10].any() and not image[y, x - 11].any()

    def test_points_beyond_the_border_are_cut_off(self):
        image = draw.draw_keypoints(FACE - 60, (32, 32))
        assert image.any()

    @pytest.mark.parametrize(
        "bad", [FACE[:4], FACE * np.nan, FACE * 1e30, np.zeros((5, 3), np.float32)]
    )
    def test_refuses(self, bad: np.ndarray):
        with pytest.raises(InvalidInput, match=r"expected \[5,2\] finite"):
            draw.draw_keypoints(bad, (8, 8))

    def test_without_opencv_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(BackendUnavailable, match="pip install opencv-python-headless"):
            draw.draw_keypoints(FACE, (8, 8))

    def test_equals_instantid_pixel_for_pixel(self):
        """Runs the function of a checkout of cubiq/ComfyUI_InstantID, named by the environment."""
        import cv2
        import PIL.Image

        scope = {"np": np, "cv2": cv2, "math": math, "PIL": PIL}
        theirs = function_of("COMFYUI_INSTANTID_PATH", "InstantID.py", "draw_kps", **scope)
        random = np.random.default_rng(7)
        for number in range(200):
            height, width = random.integers(16, 700, 2)
            landmarks = random.uniform(-0.1, 1.1, (5, 2)) * (width, height)
            landmarks = landmarks.round(number % 3).astype(np.float32)
            if number % 10 == 0:
                landmarks[0] = landmarks[2]
            expected = np.asarray(theirs(np.zeros((height, width, 3)), landmarks))
            np.testing.assert_array_equal(draw.draw_keypoints(landmarks, (height, width)), expected)


class TestLikeInsightface:
    @pytest.fixture
    def upstream(self):
        return pytest.importorskip("insightface.app").FaceAnalysis.draw_on

    @pytest.mark.parametrize("gender", [None, 1])
    @pytest.mark.parametrize("kps", [None, FACE])
    def test_equals_upstream(self, upstream, kps: np.ndarray | None, gender: int | None):
        face = SimpleNamespace(
            bbox=np.array([20.7, 30.2, 108.9, 120.4], np.float32),
            kps=kps,
            gender=gender,
            sex="M",
            age=35,
        )
        image = np.full((160, 160, 3), 90, np.uint8)
        ours = draw.draw_like_insightface(image, [face])
        np.testing.assert_array_equal(ours, upstream(None, image, [face]))
        assert (image == 90).all()

    def test_no_faces(self):
        image = np.zeros((4, 4, 3), np.uint8)
        assert draw.draw_like_insightface(image, []) is not image


class TestAnnotate:
    def test_no_faces_is_a_copy(self):
        image = np.full((8, 8, 3), 7, np.uint8)
        drawn = draw.annotate(image, Faces.empty(((8, 8),)))
        np.testing.assert_array_equal(drawn, image)
        drawn[:] = 0
        assert (image == 7).all()

    @pytest.mark.parametrize(
        "height, width", [(1, 1), (16, 16), (16, 4000), (4000, 16), (300, 200), (1080, 1920)]
    )
    def test_any_size(self, height: int, width: int):
        image = np.full((height, width, 3), 120, np.uint8)
        boxes = [
            [width * 0.1, height * 0.05, width * 0.5, height * 0.8],
            [width * 0.6, height * 0.6, width * 1.3, height * 1.2],
            [-width, -height, -1, -1],
        ]
        drawn = draw.annotate(image, faces_with(boxes, (height, width)))
        assert drawn.shape == image.shape and drawn.dtype == np.uint8
        assert (drawn != 120).any() and (image == 120).all()

    def test_line_grows_with_the_image(self):
        def line_px(side: int) -> int:
            box = [[side * 0.4, side * 0.4, side * 0.8, side * 0.8]]
            drawn = draw.annotate(
                np.zeros((side, side, 3), np.uint8), faces_with(box, (side, side)), [""]
            )
            row = drawn[int(side * 0.7), : int(side * 0.5)]
            return int((row == draw._BOX_COLOUR).all(axis=1).sum())

        assert [line_px(side) for side in (64, 1000, 4000)] == [1, 2, 10]

    @pytest.mark.parametrize(
        "height, width, left, top",
        [
            (400, 400, 0.4, 0.5),
            (400, 400, 0.0, 0.0),
            (400, 400, 0.9, 0.0),
            (400, 400, 0.0, 0.9),
            (400, 400, 0.95, 0.9),
            (400, 400, -0.5, -0.5),
            (14, 400, 0.4, 0.1),
        ],
    )
    def test_label_is_whole(self, height: int, width: int, left: float, top: float):
        def label_size(size_hw: tuple[int, int], x: float, y: float) -> tuple[int, int]:
            faces = faces_with([[x, y, x + 30, y + 30]], size_hw)
            blank = np.full((*size_hw, 3), 120, np.uint8)
            label = draw.annotate(blank, faces, ["a longer label"])
            drawn = (label != draw.annotate(blank, faces, [""])).any(axis=2)
            return int(drawn.any(axis=1).sum()), int(drawn.any(axis=0).sum())

        whole = label_size((400, 400), 150, 200)
        assert whole[0] > 8 and whole[1] > 60
        assert label_size((height, width), left * width, top * height) == pytest.approx(
            whole, abs=2
        )

    def test_label_at_the_top_leaves_the_box_alone(self):
        faces = faces_with([[50, 4, 350, 300]], (400, 400))
        blank = np.zeros((400, 400, 3), np.uint8)
        with_label, without = (draw.annotate(blank, faces, [text]) for text in ("0: 0.99", ""))
        np.testing.assert_array_equal(with_label[:6], without[:6])
        assert (with_label[6:] != without[6:]).any()

    def test_label_that_does_not_fit_is_left_out(self):
        image = np.zeros((16, 16, 3), np.uint8)
        faces = faces_with([[2, 2, 12, 12]], (16, 16))
        without = draw.annotate(image, faces, [""])
        np.testing.assert_array_equal(draw.annotate(image, faces, ["a long text"]), without)

    def test_faces_without_landmarks(self):
        faces = faces_with([[5, 5, 25, 25]], (32, 32)).with_fields(landmarks=None)
        assert draw.annotate(np.zeros((32, 32, 3), np.uint8), faces).any()

    @pytest.mark.parametrize(
        "image, labels, message",
        [
            (np.zeros((8, 8, 3), np.float32), None, "expected uint8"),
            (np.zeros((8, 8), np.uint8), None, "expected uint8"),
            (np.zeros((8, 8, 3), np.uint8), [], "got 0 labels for 1 faces"),
        ],
    )
    def test_refuses(self, image: np.ndarray, labels: list[str] | None, message: str):
        with pytest.raises(InvalidInput, match=message):
            draw.annotate(image, faces_with([[1, 1, 5, 5]], (8, 8)), labels)

    def test_refuses_faces_of_several_images(self):
        with pytest.raises(InvalidInput, match="of_image"):
            draw.annotate(np.zeros((8, 8, 3), np.uint8), Faces.empty(((8, 8), (8, 8))))

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fastface.utils.pose import head_pose
from tests.utils.properties import steady

pytest.importorskip("insightface")
from insightface.data import get_object
from insightface.utils import transform

angles = st.floats(-85, 85)


def mean_face() -> np.ndarray:
    shape = get_object("meanshape_68.pkl")
    assert shape is not None
    return shape


def upstream_pose(points: np.ndarray) -> np.ndarray:
    camera = transform.estimate_affine_matrix_3d23d(mean_face(), points)
    _, rotation, _ = transform.P2sRt(camera)
    return np.array(transform.matrix2angle(rotation), dtype=np.float32)


def turned_face(pitch: float, yaw: float, roll: float, scale: float = 100.0) -> np.ndarray:
    """InsightFace's mean face `[68,3]` float32, turned by degrees and placed in an image."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("xyz", [pitch, yaw, roll], degrees=True).as_matrix()
    return (mean_face() @ rotation.T * scale + [320.0, 240.0, 0.0]).astype(np.float32)


def test_no_faces():
    poses = head_pose(torch.zeros(0, 68, 3))
    assert poses.shape == (0, 3) and poses.dtype == torch.float32


@steady(100)
@given(angles, angles, st.floats(-175, 175), st.floats(5, 500), st.integers(0, 2**32 - 1))
@example(0.0, 0.0, 0.0, 100.0, 0)
def test_same_as_insightface(pitch: float, yaw: float, roll: float, scale: float, seed: int):
    points = turned_face(pitch, yaw, roll, scale)
    points += np.random.default_rng(seed).normal(0, 0.03 * scale, points.shape).astype(np.float32)
    expected = upstream_pose(points)
    # Where an angle jumps from 180 to -180 degrees the last bit decides.
    assume(np.abs(expected).max() < 179.9)
    np.testing.assert_allclose(head_pose(torch.from_numpy(points)[None])[0], expected, atol=2e-3)


@pytest.mark.parametrize(
    "angles_degrees", [(0, 0, 0), (20, 0, 0), (0, -35, 0), (0, 0, 90), (-15, 40, -60)]
)
def test_finds_the_angles_a_face_was_turned_by(angles_degrees: tuple[int, int, int]):
    points = torch.from_numpy(turned_face(*angles_degrees))
    np.testing.assert_allclose(head_pose(points[None])[0], angles_degrees, atol=1e-3)


def test_a_batch_gives_what_single_faces_give():
    faces = [turned_face(10 * n, 5 * n, -20 * n) for n in range(4)]
    poses = head_pose(torch.from_numpy(np.stack(faces)))
    for face, pose in zip(faces, poses, strict=True):
        assert torch.allclose(head_pose(torch.from_numpy(face)[None])[0], pose, atol=1e-4)


@pytest.mark.parametrize("points", [torch.zeros(1, 68, 3), torch.full((1, 68, 3), 50.0)])
def test_points_that_are_no_head_stay_finite(points: torch.Tensor):
    assert head_pose(points).isfinite().all()


@pytest.mark.parametrize("yaw", [90, -90])
def test_roll_is_zero_where_it_cannot_be_told_from_pitch(yaw: int):
    # Unmoved, so that float32 leaves enough digits to come within a millionth of the singularity.
    points = (turned_face(0, yaw, 0) - np.array([320, 240, 0], np.float32)).astype(np.float32)
    pose = head_pose(torch.from_numpy(points)[None])[0]
    assert pose[2] == 0 == upstream_pose(points)[2]
    np.testing.assert_allclose(pose, upstream_pose(points), atol=2e-3)

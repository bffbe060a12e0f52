"""How near two answers about one face have to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BOX_PX = LANDMARK_PX = 0.5
SCORE = 1e-3
COSINE = 0.9999


def assert_same_faces(mine: Sequence[Any], theirs: Sequence[Any]) -> None:
    """The same faces in the same order, and the same people."""
    assert len(mine) == len(theirs)
    for ours, upstream in zip(mine, theirs, strict=True):
        assert_same_place(ours, upstream)
        assert_same_identity(ours.embedding, upstream.embedding)


def assert_same_place(mine: Any, theirs: Any) -> None:
    assert np.abs(mine.bbox - theirs.bbox).max() < BOX_PX
    assert np.abs(mine.kps - theirs.kps).max() < LANDMARK_PX
    assert abs(mine.det_score - theirs.det_score) < SCORE


def assert_same_identity(mine: Any, theirs: Any) -> None:
    """Embeddings of one direction and one length, of numpy or torch, with or without a batch."""
    mine, theirs = np.ravel(mine), np.ravel(theirs)
    assert mine.shape == theirs.shape and mine.dtype == theirs.dtype == np.float32
    lengths = np.linalg.norm(mine), np.linalg.norm(theirs)
    assert mine @ theirs / (lengths[0] * lengths[1]) > COSINE
    assert abs(lengths[0] / lengths[1] - 1) < 1e-3


def assert_same_detections(mine: Any, theirs: Any) -> None:
    """What `det_model.detect` gives: boxes with scores, landmarks."""
    assert mine[0].shape == theirs[0].shape and mine[1].shape == theirs[1].shape
    assert mine[0].dtype == theirs[0].dtype == np.float32
    assert mine[1].dtype == theirs[1].dtype == np.float32
    if len(theirs[0]):
        assert np.abs(mine[0][:, :4] - theirs[0][:, :4]).max() < BOX_PX
        assert np.abs(mine[0][:, 4] - theirs[0][:, 4]).max() < SCORE
        assert np.abs(mine[1] - theirs[1]).max() < LANDMARK_PX

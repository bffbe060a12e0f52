"""InsightFace's names of what is known of a face, and its arrays as `Faces`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .faces import Faces
from .packs import Task

#: InsightFace's names for the fields of each task, and ours in `Faces`.
FACE_KEYS: dict[Task, dict[str, str]] = {
    "landmark_3d_68": {"landmark_3d_68": "landmarks_68", "pose": "pose"},
    "landmark_2d_106": {"landmark_2d_106": "landmarks_106"},
    "genderage": {"gender": "gender", "age": "age"},
    "recognition": {"embedding": "embeddings"},
    "verification": {"verification_score": "verification"},
}


def faces_from_arrays(
    boxes: np.ndarray, landmarks: np.ndarray | None, size_hw: Sequence[int]
) -> Faces:
    """`Faces` of one image from arrays: `[N,5]` boxes with scores, `[N,5,2]` landmarks."""
    rows = torch.from_numpy(np.array(boxes, dtype=np.float32)).reshape(-1, 5)
    return Faces(
        boxes=rows[:, :4],
        scores=rows[:, 4],
        image_index=torch.zeros(len(rows), dtype=torch.int64),
        image_sizes=((int(size_hw[0]), int(size_hw[1])),),
        landmarks=(
            None if landmarks is None else torch.from_numpy(np.array(landmarks, dtype=np.float32))
        ),
    )

"""Dense landmarks: 106 points in the image, or 68 in space with the head's pose."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..utils.align import apply_affine, invert_affine
from ..utils.crop_spec import CropSource
from ..utils.faces import Faces
from ..utils.pose import head_pose
from .box_head import BoxHead


class Landmarks(BoxHead):
    """Finds dense landmarks.

    Source:
        insightface 2.1, `model_zoo/landmark.py`.
    """

    def describe(self, images: CropSource, faces: Faces) -> Mapping[str, Tensor]:
        """`landmarks_106` `[N,106,2]`, or `landmarks_68` `[N,68,3]` and `pose` `[N,3]` degrees."""
        dimensions, count = (3, 68) if self.task == "landmark_3d_68" else (2, 106)
        raw, matrices = self.predict(images, faces, dimensions * count, dimensions)
        # The 3-D graph gives a whole mesh, of which the landmarks are the last rows.
        points = raw.view(len(raw), -1, dimensions)[:, -count:].clone()
        points[..., :2] += 1
        points *= self.view.size // 2
        back = invert_affine(matrices)
        flat = apply_affine(back, points[..., :2])
        if dimensions == 2:
            return {"landmarks_106": flat.to(faces.device)}
        # Depth has no origin to shift, only the crop's scale to undo.
        depth = points[..., 2:] * back[:, :1, :1].to(points.dtype)
        solid = torch.cat((flat, depth), -1)
        return {"landmarks_68": solid.to(faces.device), "pose": head_pose(solid).to(faces.device)}

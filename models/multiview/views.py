"""The ways in which an image is looked at once more: turned, finer, and from further away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...utils.faces import Faces
from ...utils.images import ImageBatch
from ...utils.letterbox import fitted_size, stretch
from ...utils.pixels import black_images


@dataclass(frozen=True)
class View:
    """One scale, at some quarter turns.

    Attributes:
        image_side: The longer side of the image is scaled to this, in pixels.
        canvas_side: Side in pixels of the black square in whose middle it lies. Where it is larger
            than the image, faces that reach beyond the border are seen as wholes.
        turns: Quarter turns counter-clockwise at which it is shown.
    """

    image_side: int
    canvas_side: int
    turns: tuple[int, ...]

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.canvas_side, self.canvas_side

    def canvases(self, batch: ImageBatch) -> ImageBatch:
        """What the detector is shown: the images at the first turn, then at the second ...

        Args:
            batch: `[B,H,W,3]` on any device.

        Returns:
            `[turns * B, side, side, 3]` uint8 on the same device.
        """
        (height, width), (top, left) = self._place(batch.size_hw)
        side = self.canvas_side
        upright = black_images((len(batch.positions), side, side, 3), batch.pixels.device)
        scaled = stretch(batch, (height, width)).pixels
        upright[:, top : top + height, left : left + width] = scaled
        turned = torch.cat([torch.rot90(upright, turn, (1, 2)) for turn in self.turns])
        return ImageBatch(turned, tuple(range(len(turned))), batch.bgr)

    def back_in(self, faces: Faces, sizes_hw: Sequence[tuple[int, int]], number: int) -> Detections:
        """What was found on canvases, in pixels of the images.

        Args:
            faces: Of canvases of images, as `canvases` gives them.
            sizes_hw: `(height, width)` of the images.
            number: Of this look.
        """
        images = len(sizes_hw)
        canvas = faces.images_of_faces()
        turn = torch.tensor([self.turns[index // images] for index in canvas], dtype=torch.int64)
        image = torch.tensor([index % images for index in canvas], dtype=torch.int64)
        places = [self._place(size_hw) for size_hw in sizes_hw]
        scale = torch.tensor(
            [fit[0] / size[0] for (fit, _), size in zip(places, sizes_hw, strict=True)],
            dtype=torch.float32,
        )
        corner = torch.tensor([[left, top] for _, (top, left) in places], dtype=torch.float32)

        boxes, scores, landmarks = on_host(faces)
        points = boxes.unflatten(1, (2, 2))
        if landmarks is not None:
            points = torch.cat((points, landmarks), 1)
        points = _unturned(points, turn, self.canvas_side) - corner[image][:, None]
        points = points / scale[image][:, None, None]
        boxes = torch.cat((points[:, :2].amin(1), points[:, :2].amax(1)), 1)
        back = None if landmarks is None else points[:, 2:]
        return Detections(boxes, scores, back, image, turn, torch.full_like(turn, number))

    def _place(self, size_hw: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width of the scaled image, and its top and left on the canvas."""
        height, width = fitted_size(size_hw, (self.image_side, self.image_side))
        return (height, width), ((self.canvas_side - height) // 2, (self.canvas_side - width) // 2)


@dataclass(frozen=True)
class Detections:
    """What one look found, on the CPU, in pixels of the images.

    Attributes:
        boxes: `[N,4]` float32 xyxy.
        scores: `[N]` float32.
        landmarks: `[N,5,2]` float32, in the order they have on the face, or None.
        image: `[N]` int64, the image of each.
        turn: `[N]` int64, quarter turns counter-clockwise at which it was seen.
        look: `[N]` int64, the number of the look; 0 is the first pass.
    """

    boxes: Tensor
    scores: Tensor
    landmarks: Tensor | None
    image: Tensor
    turn: Tensor
    look: Tensor

    def at(self, rows: Tensor) -> Detections:
        """Some of them, by index or mask."""
        landmarks = None if self.landmarks is None else self.landmarks[rows]
        return Detections(
            self.boxes[rows],
            self.scores[rows],
            landmarks,
            self.image[rows],
            self.turn[rows],
            self.look[rows],
        )


def on_host(faces: Faces) -> tuple[Tensor, Tensor, Tensor | None]:
    """Boxes, scores and landmarks on the CPU, in one read of the device."""
    columns = [faces.boxes, faces.scores[:, None]]
    if faces.landmarks is not None:
        columns.append(faces.landmarks.flatten(1))
    values = torch.cat(columns, 1).cpu()
    landmarks = None if faces.landmarks is None else values[:, 5:].unflatten(1, (5, 2))
    return values[:, :4], values[:, 4], landmarks


def _unturned(points: Tensor, turn: Tensor, side: int) -> Tensor:
    """Points `[N,K,2]` on squares that were turned counter-clockwise, where they were before."""
    for quarter in range(1, 4):
        x, y = points.unbind(-1)
        back = torch.stack((side - y, x), -1)
        points = torch.where((turn >= quarter)[:, None, None], back, points)
    return points
